"""Run directories: the files of a run, its identity, and what is read from them."""
