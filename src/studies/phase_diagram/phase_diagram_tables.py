"""Tables of a phase diagram, with means over matrices next to theory, and numbers that say how well they agree.

The weights of a layer have mean J0/N and standard deviation J/√N; the axes of the diagram are J0/J and 1/J.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from start_training.order_chaos.asymptotic_distance import ROUNDING, SEPARATED, below_edge, transition
from start_training.order_chaos.bins import Bins
from start_training.standard_error import mean_and_error
from start_training.theory.edge_of_chaos import boundary, chi, distance_without_mean
from start_training.theory.edge_of_chaos_relu import relu_rates

Array = NDArray[np.float64]


def tanh_diagram(columns: Bins, rows: Bins, distances: Array) -> pd.DataFrame:
    """Return the phase diagram of tanh as a table with a row for each point, ordered by 1/J, then by J0/J.

    Args:
        columns: The axis of J0/J.
        rows: The axis of 1/J.
        distances: Final distances of the two states, shape (matrices, points).
    """
    plane = _plane(columns, rows)
    plane["distance"], plane["distance_error"] = mean_and_error(distances)
    return plane.assign(chi_theory=chi(plane["J0"], plane["J"]))


def relu_diagram(columns: Bins, rows: Bins, norms: Array, distances: Array) -> pd.DataFrame:
    """Return the phase diagram of ReLU as a table with a row for each point, ordered by 1/J, then by J0/J.

    The growth rates are computed once for each J0/J, since J only adds log J to the growth rate of the norm.

    Args:
        columns: The axis of J0/J.
        rows: The axis of 1/J.
        norms: Growth rates of a state's norm at J = 1, in nats per iteration, shape (matrices, columns).
        distances: Growth rates of the relative distance, in nats per iteration, shape (matrices, columns).
    """
    plane, theory = _plane(columns, rows), relu_rates(columns.centres)
    (norm, norm_error), (growth, growth_error) = mean_and_error(norms), mean_and_error(distances)
    log_J = np.log(plane["J"])
    return plane.assign(
        growth=np.tile(growth, rows.bins),
        growth_error=np.tile(growth_error, rows.bins),
        growth_theory=np.tile(theory.distance, rows.bins),
        norm_growth=log_J + np.tile(norm, rows.bins),
        norm_growth_error=np.tile(norm_error, rows.bins),
        norm_growth_theory=log_J + np.tile(theory.norm, rows.bins),
    )


def tanh_boundary(columns: Bins, rows: Bins, distances: Array) -> pd.DataFrame:
    """Return a table with 1/J of the edge of chaos for each J0/J: in theory, clipped to the axis, and simulated.

    `tanh_diagram` explains the arguments.
    """
    simulated, error = mean_and_error(_transitions(columns, rows, distances))
    theory = np.clip(boundary(columns.centres), rows.low, rows.high)
    return pd.DataFrame(
        {
            "J0_over_J": columns.centres,
            "inverse_J_theory": theory,
            "inverse_J_simulated": simulated,
            "inverse_J_error": error,
        }
    )


def tanh_agreement(columns: Bins, rows: Bins, distances: Array) -> dict[str, float]:
    """Compute numbers that say how well simulation and theory of tanh agree; `tanh_diagram` explains the arguments.

    Returns:
        boundary_deviation: simulated minus theoretical 1/J of the edge, mean over columns; boundary_deviation_error:
        its standard error over matrices; boundary_deviation_rms: root mean square over columns of the mean over
        matrices; judged_alike: share of points for which χ and the mean distance give the same phase.
    """
    theory = np.clip(boundary(columns.centres), rows.low, rows.high)
    deviations = _transitions(columns, rows, distances) - theory
    diagram = tanh_diagram(columns, rows, distances)
    alike = (diagram["distance"] > SEPARATED) == (diagram["chi_theory"] > 1)
    return _deviation("boundary", deviations) | {"judged_alike": float(alike.mean())}


def relu_agreement(columns: Bins, distances: Array) -> dict[str, float]:
    """Compute numbers that say how well simulation and theory of ReLU agree; `relu_diagram` explains the arguments.

    Returns:
        growth_deviation: simulated minus theoretical growth rate, mean over columns; growth_deviation_error: its
        standard error over matrices; growth_deviation_rms: root mean square over columns of the mean over matrices;
        judged_alike: share of columns whose rate has the sign of the theoretical rate, or whose theoretical rate is 0.
    """
    theory = relu_rates(columns.centres).distance
    alike = ((distances.mean(0) > 0) == (theory > 0)) | (np.abs(theory) < ROUNDING)
    return _deviation("growth", distances - theory) | {"judged_alike": float(alike.mean())}


def finite_size_table(rows: Bins, distances: dict[int, Array]) -> pd.DataFrame:
    """Return a table of the final distance at J0 = 0 for each N and 1/J, with the theoretical one for N → ∞.

    Args:
        rows: The axis of 1/J.
        distances: Final distances by N, each of shape (matrices, points).
    """
    tables = []
    for N, of_matrices in distances.items():
        mean, error = mean_and_error(of_matrices)
        columns = {"inverse_J": rows.centres, "distance": mean, "distance_error": error}
        tables.append(pd.DataFrame({"N": N, **columns, "distance_theory": distance_without_mean(1 / rows.centres)}))
    return pd.concat(tables, ignore_index=True)


def finite_size_transitions(rows: Bins, distances: dict[int, Array]) -> pd.DataFrame:
    """Return a table of 1/J of the transition at J0 = 0 for each N; for N → ∞ it is 1 in theory.

    `finite_size_table` explains the arguments.
    """
    by_size = {N: mean_and_error(transition(rows.edges, values, axis=1)) for N, values in distances.items()}
    return pd.DataFrame(
        [{"N": N, "inverse_J": float(mean), "error": float(error)} for N, (mean, error) in by_size.items()]
    )


def finite_size_agreement(transitions: pd.DataFrame) -> dict[str, Any]:
    """Fit the exponent p with which the transition at J0 = 0 approaches 1/J = 1 for large N: 1 − 1/J ∝ N^−p.

    Args:
        transitions: The table of `finite_size_transitions`.

    Returns:
        transitions: the rows of the table as plain data; exponent: p by least squares on logarithms; exponent_error:
        its standard error, computed from the errors of the transitions. The last two are missing if there are fewer
        than two sizes or a transition is not below 1.
    """
    deviations = below_edge(transitions["inverse_J"])
    agreement: dict[str, Any] = {"transitions": transitions.to_dict("records")}
    if len(transitions) >= 2 and (deviations > 0).all():
        x = np.log(transitions["N"]) - np.log(transitions["N"]).mean()
        shares = x / (x**2).sum()
        errors = transitions["error"] / deviations  # standard errors of the logarithms
        agreement["exponent"] = float(-(shares * np.log(deviations)).sum())
        agreement["exponent_error"] = float(np.sqrt(((shares * errors) ** 2).sum(skipna=False)))
    return agreement


def _deviation(name: str, deviations: Array) -> dict[str, float]:
    mean, error = mean_and_error(deviations.mean(1))
    numbers = {"": mean, "_error": error, "_rms": np.sqrt((deviations.mean(0) ** 2).mean())}
    return {f"{name}_deviation{suffix}": float(number) for suffix, number in numbers.items()}


def _transitions(columns: Bins, rows: Bins, distances: Array) -> Array:
    """Return 1/J of the simulated edge of chaos, shape (matrices, columns)."""
    return transition(rows.edges, distances.reshape(len(distances), rows.bins, columns.bins), axis=1)


def _plane(columns: Bins, rows: Bins) -> pd.DataFrame:
    inverse_J, ratio = (values.ravel() for values in np.meshgrid(rows.centres, columns.centres, indexing="ij"))
    return pd.DataFrame({"J0_over_J": ratio, "inverse_J": inverse_J, "J0": ratio / inverse_J, "J": 1 / inverse_J})
