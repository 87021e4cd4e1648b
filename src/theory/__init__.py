"""What is predicted, without torch; every function cites its source."""
