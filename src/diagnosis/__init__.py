"""Diagnosis of any module: measurements on copies and theory give a verdict on failure modes, and advice."""
