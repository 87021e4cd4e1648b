"""Many runs, nets or matrices with one question, and its answer."""
