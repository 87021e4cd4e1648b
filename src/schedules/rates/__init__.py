"""Learning rates that follow from range tests: the ramps of a test, its suggestion, and its advice."""
