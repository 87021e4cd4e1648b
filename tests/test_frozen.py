"""No data class of these folders can be changed after it was made: what caches or is shared must not."""

import inspect
import pkgutil
from dataclasses import is_dataclass
from importlib import import_module

import pytest


def unfrozen(folder: str) -> list[str]:
    """Return the names of the dataclasses of a folder that are not frozen, sorted."""
    package = import_module(f"start_training.{folder}")
    names = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    members = [member for name in names for _, member in inspect.getmembers(import_module(name), inspect.isclass)]
    defined = {member for member in members if is_dataclass(member) and member.__module__ in names}
    return sorted(member.__name__ for member in defined if not member.__dataclass_params__.frozen)


@pytest.mark.parametrize("folder", ["theory", "lengths", "schedules", "order_chaos", "runs", "analysis", "diagnosis"])
def test_what_is_handed_around_cannot_be_changed(folder):
    assert unfrozen(folder) == []
