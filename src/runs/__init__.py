"""Run directories: the files of a run, the hash that identifies it, and functions that read them."""
