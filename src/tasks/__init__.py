"""What a net is trained for: its number of outputs, its loss, its metrics, and the merit by which runs are compared."""
