"""Weights with biases beside them, both normal."""

from start_training.initializers.variance_scaling import VarianceScaling


class Biased(VarianceScaling):
    """Biases of one variance, or of 1 / fan_in."""

    def __init__(self, scale, *, variance=None):
        super().__init__(scale)
        self.variance_of_biases = variance

    def bias_variance(self, fans):
        return self.variance_of_biases or 1 / fans.fan_in

    def fill_bias_(self, bias, fans, generator=None):
        bias.normal_(0.0, self.bias_variance(fans) ** 0.5, generator=generator)
