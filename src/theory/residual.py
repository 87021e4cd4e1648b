"""Theory's predictions for a fully connected residual net at initialization."""

from dataclasses import dataclass

import numpy as np

from start_training.theory.activation import LINEAR, Array, Homogeneous
from start_training.theory.length_variance_residual import log_moment_ratio_residual, log_moment_ratio_residual_linear
from start_training.theory.mean_length import log_mean_length_residual
from start_training.theory.verdict import DEFAULTS, Thresholds, Verdict, judge


@dataclass(frozen=True)
class ResidualLaw:
    """Predicted activation lengths of a residual net act_l = act_{l−1} + eta_l N_l(act_{l−1}) with modules l = 1 … L.

    Each N_l is a fully connected net of K layers. The length after module l is M_l = ‖act_l‖² / width.

    Args:
        scales: eta of each module, shape (L,).
        width: Units at the input and output of each module.
        module_widths: Units of the K − 1 hidden layers of a module.
        kappas: fan_in · Var W of each layer of a module, shape (K,).
        bias_variances: Variance of the biases of each layer of a module, shape (K,).
        kurtosis: Kurtosis of the weights of each layer of a module, shape (K,).
        activation: φ of a module's hidden layers.
        ending: φ of a module's last layer: the same as activation, or linear.
        orthogonal: Whether weights are Haar-random semi-orthogonal rather than independent.

    Example:
        >>> from start_training.theory.activation import RELU
        >>> one = np.ones(1)  # each module has one critical ReLU layer
        >>> law = ResidualLaw(np.ones(50), 100, (), 2 * one, 0 * one, 3 * one, activation=RELU, ending=RELU)
        >>> law.verdict().failure_modes  # lengths grow too much, because Σ eta_l = 50
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
        """Compute log E[M_l], the log mean length after each module, shape (L,), in nats.

        The result is exact if the last layer of each module is linear, and otherwise the limit of infinite width. See
        src/theory/mean_length.py.

        Args:
            log_input_length: log M_0, the log length of the input.
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
        """Compute log(E[M_l²] / E[M_l]²), the spread of the length over random nets, after each module.

        The result is exact if the last layer of each module is linear, and otherwise correct to first order in the
        reciprocal widths. See src/theory/length_variance_residual.py.

        Args:
            log_input_length: Not used: without biases the result does not depend on the input's length.

        Returns:
            Lower and upper bound, which are the same array of shape (L,), in nats; None with biases or with weights
            that are not Gaussian.
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
    def supposes(self) -> tuple[str, ...]:
        """What the prediction of the mean length supposes, such as "wide limit"; empty if it is exact."""
        return ("wide limit",) * (self.ending.mean != 0)

    @property
    def gaussian(self) -> bool:
        """Whether weights are independent normals, for which the full distribution of lengths can be sampled."""
        return not self.orthogonal and bool((self.kurtosis == 3).all())

    def verdict(self, thresholds: Thresholds = DEFAULTS, *, log_input_length: float = 0.0) -> Verdict:
        """Predict whether lengths or gradients grow or shrink exponentially (failure mode 1) or fluctuate too much (2).

        Forward rates are the growth of log E[M_l] per module; backward rates, log(1 + eta_l² Π_k kappa_k E[φ_k²]), are
        the growth of squared gradients, where eta_l is the scale of module l and k counts its layers. The spread is
        log(E[M_L²] / E[M_L]²) / 5 for Gaussian weights; in fully connected ReLU nets that is about beta = Σ_j 1/n_j.

        Args:
            thresholds: Greatest healthy values of drift, spread and share of dead nets.
            log_input_length: log M_0, the log length of the input.
        """
        with np.errstate(invalid="ignore"):  # an input of length 0 has no growth rate
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
