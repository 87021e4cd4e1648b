"""Theory's predictions for a fully connected net at initialization."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from start_training.theory.activation import Array, Homogeneous
from start_training.theory.beta import beta
from start_training.theory.length_variance import log_moment_ratio_bounds, log_moment_ratio_orthogonal
from start_training.theory.log_length import log_survival
from start_training.theory.mean_length import kappas_after_dropout, log_mean_length
from start_training.theory.verdict import DEFAULTS, Thresholds, Verdict, judge


@dataclass(frozen=True)
class FullyConnectedLaw:
    """Predicted activation lengths of a fully connected net act_j = φ(W_j act_{j−1} + b_j) with layers j = 1 … d.

    The length of layer j is M_j = ‖act_j‖² / n_j, n_j its width.

    Args:
        fan_ins: Number of inputs of each layer's units, shape (d,).
        widths: Units of each layer, shape (d,).
        kappas: fan_in · Var W of each layer, shape (d,).
        bias_variances: Variance of each layer's biases, shape (d,).
        kurtosis: Kurtosis of each layer's weights and biases, shape (d,).
        activation: φ of every layer.
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
    supposes: ClassVar[tuple[str, ...]] = ()  # the mean length is exact

    def log_mean_length(self, log_input_length: float = 0.0) -> Array:
        """Compute log E[M_j], the log mean length of each layer before dropout, shape (d,), in nats.

        See src/theory/mean_length.py.

        Args:
            log_input_length: log M_0, the log length of the input.
        """
        return log_mean_length(
            kappas_after_dropout(self.kappas, self.dropout),
            self.bias_variances,
            log_input_length=log_input_length,
            activation=self.activation,
        )

    def log_moment_ratio(self, log_input_length: float = 0.0) -> tuple[Array, Array] | None:
        """Compute bounds of log(E[M_j²] / E[M_j]²), the spread of the length over random nets, for each layer.

        See src/theory/length_variance.py.

        Args:
            log_input_length: log M_0, the log length of the input.

        Returns:
            Lower and upper bound, each of shape (d,), in nats, which are equal if the value is known exactly; None with
            dropout, and for orthogonal weights with biases.
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
        """Whether weights are independent normals, for which the full distribution of lengths can be sampled."""
        return not self.orthogonal and bool((self.kurtosis == 3).all())

    @property
    def beta(self) -> float:
        """Sum of reciprocal widths Σ_j 1/n_j, which determines failure mode 2 (lengths fluctuate too much)."""
        return beta(self.widths)

    def verdict(self, thresholds: Thresholds = DEFAULTS, *, log_input_length: float = 0.0) -> Verdict:
        """Predict whether lengths or gradients grow or shrink exponentially (failure mode 1) or fluctuate too much (2).

        Forward rates are the growth of log E[M_j] per layer. Backward rates, log(kappa_j E[φ²]/E[z²]), are the growth
        of squared gradients, and of the squared difference between two inputs, which can shrink although biases keep
        lengths constant.

        Args:
            thresholds: Greatest healthy values of drift, spread and share of dead nets.
            log_input_length: log M_0, the log length of the input.
        """
        with np.errstate(invalid="ignore"):  # an input of length 0 has no growth rate
            forward = np.diff(self.log_mean_length(log_input_length), prepend=log_input_length)
        backward = np.log(kappas_after_dropout(self.kappas, self.dropout) * self.activation.second)
        can_die = self.activation.negative_slope == 0 and not self.bias_variances.any()
        survival = log_survival(self.widths)[-1] if can_die else 0.0
        return judge(forward, backward, spread=self.beta, dead=-np.expm1(survival), thresholds=thresholds)
