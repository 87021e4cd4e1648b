"""All that theory says of a fully connected net at initialization, from its architecture and its initializer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from start_training.theory.activation import Homogeneous
from start_training.theory.beta import beta
from start_training.theory.length_variance import log_moment_ratio_bounds, log_moment_ratio_orthogonal
from start_training.theory.log_length import log_survival
from start_training.theory.mean_length import log_mean_length
from start_training.theory.verdict import DEFAULTS, Thresholds, Verdict, judge

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FullyConnectedLaw:
    """act_j = φ(W_j act_{j−1} + b_j): an entry of each array, shape (d,), for each hidden layer.

    kappas, bias_variances, kurtosis: of the initializer for that layer's fans. orthogonal: weights are Haar-random
    semi-orthogonal rather than independent. dropout: probability of dropping a unit after each activation.
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
        """log E[M_j], shape (d,); lengths are those before dropout. See src/theory/mean_length.py."""
        return log_mean_length(
            self._kappas_fed(),
            self.bias_variances,
            log_input_length=log_input_length,
            activation=self.activation,
        )

    def log_moment_ratio(self, log_input_length: float = 0.0) -> tuple[Array, Array] | None:
        """Lower and upper bound of log(E[M_j²] / E[M_j]²), each (d,), equal where exact; None with dropout.

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
        """Whether weights are independent normals, for which the whole law of the lengths is explicit."""
        return not self.orthogonal and bool((self.kurtosis == 3).all())

    @property
    def beta(self) -> float:
        """Σ_j 1/n_j."""
        return beta(self.widths)

    def verdict(self, thresholds: Thresholds = DEFAULTS, *, log_input_length: float = 0.0) -> Verdict:
        """On failure modes 1 and 2, from theory alone.

        Forward rates are those of E[M_j]; backward ones, log(kappa_j E[φ²]/E[z²]), those of squared gradients, and of
        what is left of a difference between two inputs: where biases feed a plateau, only they go on falling.
        """
        with np.errstate(invalid="ignore"):  # a dead input has no rate
            forward = np.diff(self.log_mean_length(log_input_length), prepend=log_input_length)
        backward = np.log(self._kappas_fed() * self.activation.second)
        survival = log_survival(self.widths) if self._can_die() else np.zeros(1)
        return judge(forward, backward, spread=self.beta, dead=-np.expm1(survival[-1]), thresholds=thresholds)

    def _can_die(self) -> bool:
        return self.activation.negative_slope == 0 and not self.bias_variances.any()

    def _kappas_fed(self) -> Array:
        kappas = self.kappas.copy()
        kappas[1:] /= 1 - self.dropout  # dropout scales up what it keeps: E[x²] / (1 − p)
        return kappas
