"""What is drawn: arrays and tables in, a matplotlib Figure out."""
