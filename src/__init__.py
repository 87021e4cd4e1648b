"""Measure, predict and improve how neural networks start training: initialization, architecture, learning rates.

The names in `__all__` are the public interface; all other names may move between versions. The module of a public name
is imported when the name is first used, so that `import start_training` takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from start_training.callbacks.activation_lengths import ActivationLengths
    from start_training.callbacks.phase import Phase
    from start_training.callbacks.range_test import RangeTest
    from start_training.callbacks.start_of_training import StartOfTraining
    from start_training.callbacks.test_metrics import TestMetrics
    from start_training.config.composed import register_resolvers
    from start_training.cure.fix import fix_
    from start_training.diagnosis.diagnose import diagnose
    from start_training.initializers.critical import Critical
    from start_training.initializers.initialize import initialize_
    from start_training.initializers.orthogonal import Orthogonal
    from start_training.initializers.torch_default import TorchDefault
    from start_training.initializers.variance_scaling import VarianceScaling
    from start_training.runs.read_lengths import read_lengths

_MODULES = {  # the module that defines each public name
    "ActivationLengths": "callbacks.activation_lengths",
    "Phase": "callbacks.phase",
    "RangeTest": "callbacks.range_test",
    "StartOfTraining": "callbacks.start_of_training",
    "TestMetrics": "callbacks.test_metrics",
    "diagnose": "diagnosis.diagnose",
    "fix_": "cure.fix",
    "Critical": "initializers.critical",
    "initialize_": "initializers.initialize",
    "Orthogonal": "initializers.orthogonal",
    "TorchDefault": "initializers.torch_default",
    "VarianceScaling": "initializers.variance_scaling",
    "read_lengths": "runs.read_lengths",
    "register_resolvers": "config.composed",
}

__all__ = [
    "ActivationLengths",
    "Critical",
    "Orthogonal",
    "Phase",
    "RangeTest",
    "StartOfTraining",
    "TestMetrics",
    "TorchDefault",
    "VarianceScaling",
    "diagnose",
    "fix_",
    "initialize_",
    "read_lengths",
    "register_resolvers",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
