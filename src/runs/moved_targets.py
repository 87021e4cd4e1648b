"""Former names of classes and functions, which old configs may hold as `_target_`, and their present names."""

import pkgutil
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Targets that YAML files named while the package was called `src`.
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
_RENAMED_FOLDERS = {"jobs": "studies"}
_RENAMED = {"start_training.initializers.phase.Phase": "start_training.initializers.phase_point.PhasePoint"}
# Former name: present name, the oldest first. Hashes use the oldest name, so that moving a class changes no hash.
MOVED: dict[str, str] = {
    f"{package}.{folder}.{name}": _RENAMED.get(
        present := f"start_training.{_RENAMED_FOLDERS.get(folder, folder)}.{name}", present
    )
    for package in ("src", "start_training")
    for folder, names in _OF_SRC.items()
    for name in names.split()
    if package == "src" or folder in _RENAMED_FOLDERS
} | _RENAMED
_reported: set[str] = set()


def current_targets(config: Mapping[str, Any], may_import: Callable[[str], bool] = lambda _: True) -> dict[str, Any]:
    """Return the config with the former name in each `_target_` replaced by the present name.

    Replacements are reported on stderr, once per name. A former name that belongs to a package of the user, and can be
    imported from it, is not replaced.

    Args:
        config: resolved and plain.
        may_import: whether a name may be imported to find out whether it belongs to a package of the user.
    """
    moved: list[str] = []
    current = {key: _current(value, moved, may_import, key) for key, value in config.items()}
    if new := [name for name in dict.fromkeys(moved) if name not in _reported]:
        _reported.update(new)
        others = f", and {len(new) - 1} more targets have moved" if len(new) > 1 else ""
        print(f"note: {new[0]} has moved to {MOVED[new[0]]}{others}; old names still work", file=sys.stderr)
    return current


def _current(value: Any, moved: list[str], may_import: Callable[[str], bool], key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {inner: _current(item, moved, may_import, inner) for inner, item in value.items()}
    if isinstance(value, list):
        return [_current(item, moved, may_import) for item in value]
    if key != "_target_" or value not in MOVED:
        return value
    if (name := current_name(value) if may_import(value) else MOVED[value]) == value:
        return value
    moved.append(value)
    return name


@cache
def current_name(name: str) -> str:
    """Return the present name of a class or function, which is `name` itself if it has not moved."""
    return name if name not in MOVED or _is_users(name) else MOVED[name]


@cache
def first_name(name: str) -> str:
    """Return the oldest name of a class or function, which hashes use.

    A name in `MOVED` that belongs to a package of the user becomes "another NAME", so that its hash differs.
    """
    present = current_name(name)
    if name in MOVED and present == name:
        return f"another {name}"
    return next((first for first, current in MOVED.items() if current == present), name)


def _is_users(name: str) -> bool:
    """Return whether `name` can be imported from a package other than this one, such as a user's package `src`."""
    package = find_spec(name.partition(".")[0])
    # From the root of the repository, this package can be imported as `src`, too.
    folder = Path(__file__).resolve().parents[1]
    if package is None or folder in [Path(path).resolve() for path in package.submodule_search_locations or ()]:
        return False
    try:
        pkgutil.resolve_name(name)
    except Exception:  # importing a user's module can raise anything; building the object reports it
        return False
    return True
