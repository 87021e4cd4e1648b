"""What theory predicts for a fully connected net at initialization, from its architecture and its initializer."""

from dataclasses import dataclass

import numpy as np

from start_training.theory.activation import Array, Homogeneous
from start_training.theory.beta import beta
from start_training.theory.length_variance import log_moment_ratio_bounds, log_moment_ratio_orthogonal
from start_training.theory.log_length import log_survival
from start_training.theory.mean_length import kappas_after_dropout, log_mean_length
from start_training.theory.verdict import DEFAULTS, Thresholds, Verdict, judge


@dataclass(frozen=True)
class FullyConnectedLaw:
    """act_j = φ(W_j act_{j−1} + b_j) for hidden layers j = 1 … d.

    Args:
        fan_ins: Number of inputs of each layer's units, shape (d,).
        widths: Units of each layer, shape (d,).
        kappas: fan_in · Var W of each layer, shape (d,).
        bias_variances: Variance of each layer's biases, shape (d,).
        kurtosis: Of each layer's weights and biases, shape (d,).
        activation: φ.
        orthogonal: Whether weights are Haar-random semi-orthogonal rather than independent.
        dropout: Probability of dropping a unit after each activation.

    Example:
        >>> from start_training.theory.activation import RELU
        >>> d = np.ones(20)  # layers of width 100, with torch's default weights and no biases
        >>> law = FullyConnectedLaw(100 * d, 100 * d, d / 3, 0 * d, 1.8 * d, activation=RELU)
        >>> law.verdict().failure_modes
        ('FM1',)
    """

    fan_ins: Array
    widths: Array
    kappas: Array
    bias_variances: Array
    kurtosis: Array
    activation: Homogeneous
    orthogonal: bool = False
    dropout: float = 0.0

    def log_mean_length(self, log_input_length: float = 0.0) -> Array:
        """log E[M_j] before dropout, shape (d,), in nats, for an input of log M_0 = log_input_length.

        See src/theory/mean_length.py.
        """
        return log_mean_length(
            kappas_after_dropout(self.kappas, self.dropout),
            self.bias_variances,
            log_input_length=log_input_length,
            activation=self.activation,
        )

    def log_moment_ratio(self, log_input_length: float = 0.0) -> tuple[Array, Array] | None:
        """Lower and upper bound of log(E[M_j²] / E[M_j]²), each of shape (d,), for an input of this log M_0.

        The two are equal where the law is exact. None with dropout, and for orthogonal weights with biases.
        See src/theory/length_variance.py.
        """
        if self.dropout or (self.orthogonal and self.bias_variances.any()):
            return None
        if self.orthogonal:
            exact = log_moment_ratio_orthogonal(self.widths, self.fan_ins, activation=self.activation)
            return exact, exact
        return log_moment_ratio_bounds(
            self.widths,
            self.fan_ins,
            self.kappas,
            self.bias_variances,
            kurtosis=self.kurtosis,
            bias_kurtosis=self.kurtosis,
            log_input_length=log_input_length,
            activation=self.activation,
        )

    @property
    def gaussian(self) -> bool:
        """Whether weights are independent normals, for which the whole law of lengths is explicit."""
        return not self.orthogonal and bool((self.kurtosis == 3).all())

    @property
    def beta(self) -> float:
        """Σ_j 1/n_j, which decides failure mode 2."""
        return beta(self.widths)

    def verdict(self, thresholds: Thresholds = DEFAULTS, *, log_input_length: float = 0.0) -> Verdict:
        """The verdict on failure modes 1 and 2, from theory alone.

        Forward rates are those of E[M_j]. Backward rates, log(kappa_j E[φ²]/E[z²]), are those of squared gradients and
        of the difference between two inputs, which goes on falling where biases keep lengths constant.

        Args:
            thresholds: What the numbers are compared with.
            log_input_length: log M_0.
        """
        with np.errstate(invalid="ignore"):  # a dead input has no rate
            forward = np.diff(self.log_mean_length(log_input_length), prepend=log_input_length)
        backward = np.log(kappas_after_dropout(self.kappas, self.dropout) * self.activation.second)
        can_die = self.activation.negative_slope == 0 and not self.bias_variances.any()
        survival = log_survival(self.widths)[-1] if can_die else 0.0
        return judge(forward, backward, spread=self.beta, dead=-np.expm1(survival), thresholds=thresholds)
