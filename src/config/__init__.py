"""Build objects from plain configs, and report config errors by the name of the setting."""
