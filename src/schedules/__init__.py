"""Learning-rate and momentum schedules, and the analysis of loss curves and learning-rate range tests."""
