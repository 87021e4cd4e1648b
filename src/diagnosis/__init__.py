"""Will this net start training: from measurements on copies, and theory, to a verdict and to what would change it."""
