"""Classes and functions of earlier versions that a config may still name, and where they are now."""

import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# What YAML files named while the package was called src.
_OF_SRC = {
    "callbacks": "activation_lengths.ActivationLengths phase.Phase range_test.RangeTest "
    "start_of_training.StartOfTraining test_metrics.TestMetrics",
    "datamodules": "cifar10.Cifar10 digits.Digits fashion_mnist.FashionMnist image_folder.ImageFolder mnist.Mnist "
    "random_inputs.RandomInputs",
    "figures": "collapse.draw_collapse largest_rate.draw_largest_rate length_variance.draw_length_variance "
    "mean_length_depth.draw_mean_length_against_depth phase_slope.draw_phase_slope "
    "phase_trajectory.draw_phase_trajectory range_test.draw_range_test scaling.draw_scaling "
    "start_of_training.draw_start_of_training super_convergence.draw_super_convergence two_papers.draw_two_papers "
    "weight_decay.draw_weight_decay",
    "initializers": "critical.Critical orthogonal.Orthogonal phase.Phase torch_default.TorchDefault "
    "variance_scaling.VarianceScaling",
    "jobs": "batch_size_search.search_batch_size momentum_search.search_momentum "
    "weight_decay_search.search_weight_decay",
    "models": "convolutional.Convolutional fully_connected.FullyConnected lenet.LeNet residual.Residual "
    "square_layer.SquareLayer widths.alternating widths.in_blocks",
    "runs": "metrics_file.MetricsFile",
    "schedules": "cosine.Cosine inverse.Inverse one_cycle.OneCycle step.Step triangular.Triangular",
}
_SINCE = {"jobs": "studies"}  # folders that are called otherwise now
_RENAMED = {"start_training.initializers.phase.Phase": "start_training.initializers.phase_point.PhasePoint"}
# Former name: present name, the oldest first. An identity is of the first, so that a move changes no run's hash.
MOVED: dict[str, str] = {
    f"{package}.{folder}.{name}": _RENAMED.get(now := f"start_training.{_SINCE.get(folder, folder)}.{name}", now)
    for package in ("src", "start_training")
    for folder, names in _OF_SRC.items()
    for name in names.split()
    if package == "src" or folder in _SINCE
} | _RENAMED
_said: set[str] = set()


def current_targets(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the present name in place of each `_target_` that has moved; one line on stderr says so, once.

    A name that can be imported as it stands is left alone: it is the user's own package of the same name.
    """
    moved: list[str] = []
    current = {key: _current(value, moved, key) for key, value in config.items()}
    if new := [name for name in dict.fromkeys(moved) if name not in _said]:
        _said.update(new)
        others = f", and {len(new) - 1} more have moved" if len(new) > 1 else ""
        print(f"note: {new[0]} is {MOVED[new[0]]} now{others}; old names still work", file=sys.stderr)
    return current


def _current(value: Any, moved: list[str], key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {inner: _current(item, moved, inner) for inner, item in value.items()}
    if isinstance(value, list):
        return [_current(item, moved) for item in value]
    if key != "_target_" or value not in MOVED or (name := current_name(value)) == value:
        return value
    moved.append(value)
    return name


@cache
def current_name(name: str) -> str:
    """The present name of something that may have moved."""
    return name if name not in MOVED or _is_somebody_elses(name) else MOVED[name]


@cache
def first_name(name: str) -> str:
    """The name that a class or function had when configs first named it; one of the user's is not taken for ours."""
    present = current_name(name)
    if name in MOVED and present == name:
        return f"another {name}"
    return next((first for first, now in MOVED.items() if now == present), name)


def _is_somebody_elses(name: str) -> bool:
    package = find_spec(name.partition(".")[0])
    here = str(
        Path(__file__).resolve().parents[1]
    )  # this package's folder src/, which can be imported as `src` from its parent
    if package is None or here in [str(Path(path).resolve()) for path in package.submodule_search_locations or ()]:
        return False
    try:
        pkgutil.resolve_name(name)
    except Exception:  # whatever importing a user's module raises: building from the name says it
        return False
    return True
