"""An initializer of normal weights and normal biases."""

from start_training.initializers.variance_scaling import VarianceScaling


class Biased(VarianceScaling):
    """Normal weights and normal biases of variance `variance`, or 1 / fan_in for None."""

    def __init__(self, scale, *, variance=None):
        super().__init__(scale)
        self.variance_of_biases = variance

    def bias_variance(self, fans):
        return self.variance_of_biases or 1 / fans.fan_in

    def fill_bias_(self, bias, fans, generator=None):
        bias.normal_(0.0, self.bias_variance(fans) ** 0.5, generator=generator)
