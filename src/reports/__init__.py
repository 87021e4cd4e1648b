"""What is said of runs and sweeps: tables on the terminal, sentences, and the figures that go with them."""
