"""Weight initializers, each of which draws weights and states their variance and kurtosis."""
