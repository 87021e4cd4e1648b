"""What theory predicts for a residual net at initialization, from its architecture and its initializer."""

from dataclasses import dataclass

import numpy as np

from start_training.theory.activation import LINEAR, Array, Homogeneous
from start_training.theory.length_variance_residual import log_moment_ratio_residual, log_moment_ratio_residual_linear
from start_training.theory.mean_length import log_mean_length_residual
from start_training.theory.verdict import DEFAULTS, Thresholds, Verdict, judge


@dataclass(frozen=True)
class ResidualLaw:
    """act_l = act_{l−1} + eta_l N_l(act_{l−1}) for modules l = 1 … L, each N_l a fully connected net of K layers.

    Args:
        scales: eta of each module, shape (L,).
        width: Units at either end of a module.
        module_widths: Units of the K − 1 hidden layers of a module.
        kappas: fan_in · Var W of each layer of a module, shape (K,).
        bias_variances: Variance of the biases of each layer of a module, shape (K,).
        kurtosis: Of the weights of each layer of a module, shape (K,).
        activation: φ of the hidden layers.
        ending: φ of a module's last layer: the same, or linear.
        orthogonal: Whether weights are Haar-random semi-orthogonal rather than independent.

    Example:
        >>> from start_training.theory.activation import RELU
        >>> one = np.ones(1)  # modules of one critical ReLU layer
        >>> law = ResidualLaw(np.ones(50), 100, (), 2 * one, 0 * one, 3 * one, activation=RELU, ending=RELU)
        >>> law.verdict().failure_modes  # Σ eta_l = 50, so that lengths grow too much
        ('FM1',)
    """

    scales: Array
    width: int
    module_widths: tuple[int, ...]
    kappas: Array
    bias_variances: Array
    kurtosis: Array
    activation: Homogeneous
    ending: Homogeneous
    orthogonal: bool = False

    def log_mean_length(self, log_input_length: float = 0.0) -> Array:
        """log E[M_l], shape (L,), in nats, for an input of log M_0 = log_input_length.

        It is the wide limit, and exact where modules end in a linear layer.

        See src/theory/mean_length.py.
        """
        return log_mean_length_residual(
            self.scales.tolist(),
            self.kappas,
            self.bias_variances,
            log_input_length=log_input_length,
            activation=self.activation,
            ending=self.ending,
        )

    def log_moment_ratio(self, log_input_length: float = 0.0) -> tuple[Array, Array] | None:
        """log(E[M_l²] / E[M_l]²), shape (L,), twice; None with biases or weights that are not Gaussian.

        Exact where modules end in a linear layer, else to first order in one over the widths.
        See src/theory/length_variance_residual.py.
        """
        if self.bias_variances.any() or not self.gaussian:
            return None
        ratio = self._log_moment_ratio_to_first_order()
        if self.ending == LINEAR:
            ratio = log_moment_ratio_residual_linear(
                self.scales.tolist(), self.width, self.module_widths, self.kappas, activation=self.activation
            )
        return ratio, ratio

    @property
    def gaussian(self) -> bool:
        """Whether weights are independent normals."""
        return not self.orthogonal and bool((self.kurtosis == 3).all())

    def verdict(self, thresholds: Thresholds = DEFAULTS, *, log_input_length: float = 0.0) -> Verdict:
        """The verdict on failure modes 1 and 2, from theory alone.

        Forward rates are those of E[M_l]; backward rates, log(1 + eta_l² Π_k kappa_k E[φ_k²]), are those of squared
        gradients. The spread is log(E[M_L²] / E[M_L]²) / 5 of Gaussian weights, which in fully connected ReLU nets is
        near beta.

        Args:
            thresholds: What the numbers are compared with.
            log_input_length: log M_0.
        """
        with np.errstate(invalid="ignore"):  # a dead input has no rate
            forward = np.diff(self.log_mean_length(log_input_length), prepend=log_input_length)
        halves = self.activation.second ** (len(self.kappas) - 1) * self.ending.second
        backward = np.log1p(self.scales**2 * np.prod(self.kappas) * halves)
        spread = float(self._log_moment_ratio_to_first_order()[-1]) / 5
        return judge(forward, backward, spread=spread, dead=0.0, thresholds=thresholds)

    def _log_moment_ratio_to_first_order(self) -> Array:
        return log_moment_ratio_residual(
            self.scales.tolist(),
            self.width,
            self.module_widths,
            self.kappas,
            activation=self.activation,
            ending=self.ending,
        )
