"""Will this net start training? Measurements on copies, and theory, give a verdict and what would change it."""
