"""Lightning callbacks that measure and record training. Each can be given to any Trainer by itself."""
