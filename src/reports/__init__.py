"""Reports about runs and sweeps: tables on the terminal, sentences, JSON files, and the figures that accompany them."""
