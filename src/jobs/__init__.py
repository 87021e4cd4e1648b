"""What each script runs, importable: from a plain config to a finished run."""
