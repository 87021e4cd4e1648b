"""What is predicted: no torch here, and every function cites its source."""
