"""Small jobs of every script: composed once per choice of groups, values put in afterwards, and started in-process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from start_training.config.composed import plain
from start_training.runs.job import Job
from start_training.studies.guideline.guideline import GUIDELINE
from start_training.studies.phase_diagram.phase_diagram import PHASE_DIAGRAM
from start_training.studies.picture import PICTURE
from start_training.studies.recipe import RECIPE
from start_training.studies.search import SEARCH
from start_training.studies.simulate import SIMULATE
from start_training.training.train import train
from tests.small_runs import CONF, SMALL

DATA = "datamodule.batch_size=128"  # 11 steps an epoch of 1293 digits, 12 of all 1437
RATES = (
    "range_tests.range_test.steps=40",
    "range_tests.range_test.val_points=20",
    "range_tests.range_test.min_lr=1e-3",
)
QUICK = {  # what makes the jobs of each script small
    "train": SMALL,
    "range_test": (*(word for word in SMALL if "max_epochs" not in word), "callbacks.range_test.steps=40",
                   "callbacks.range_test.val_points=20", "callbacks.range_test.val_samples=100",
                   "callbacks.range_test.min_lr=0.001", "callbacks.range_test.adaptive=false"),
    "simulate": ("nets=50", "model.depth=3", "model.width=16", "progress=false", "logger=csv"),
    "search": ("model.depth=2", "model.width=16", DATA, "trainer.max_epochs=2", *RATES, "seeds=2", "logger=csv"),
    "recipe": ("model.depth=2", "model.width=16", DATA, "weight_decays=[1e-2,1e-4]", "budget=24", "times=2",
               "range_tests.range_test.min_lr=1e-2", "seeds=2", "callbacks=none", "logger=csv"),
    "weight_decay": (DATA, "optimizer.lr=0.04", "measure=8", "window=[5,8]", "seeds=1", "logger=csv"),
    "phase_diagram": ("N=40", "matrices=3", "iterations=60", "average=10", "J0_over_J.bins=12", "inverse_J.bins=8",
                      "finite_size.N=[40,10,20]", "finite_size.matrices=2", "finite_size.iterations=60",
                      "finite_size.inverse_J.bins=7", "progress=false", "logger=csv"),
    "picture": ("model.depth=6", "model.channels=16", "logger=csv"),
    "diagnose": (),
}  # fmt: skip
STARTS: dict[str, Callable[[Job, DictConfig], object]] = {
    "train": lambda job, config: train(job),
    "simulate": SIMULATE.carry_out,
    "search": SEARCH.carry_out,
    "recipe": RECIPE.carry_out,
    "weight_decay": GUIDELINE.carry_out,
    "phase_diagram": PHASE_DIAGRAM.carry_out,
    "picture": PICTURE.carry_out,
}
_parse = OverridesParser.create().parse_override


@cache
def _composed(script: str, groups: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(script, list(groups))


def _is_group(word: str) -> bool:
    key, _, value = word.lstrip("+").partition("=")
    return word.startswith("~") or ((CONF / key.partition("@")[0]).is_dir() and not value.startswith("{"))


def composed_of(script: str, *typed: str) -> DictConfig:
    """The config of a small job of a script, before its interpolations are resolved."""
    words = [*QUICK[script], *typed]
    groups = tuple(word for word in words if _is_group(word))
    config = deepcopy(_composed(script, groups))
    for word in words:
        if _is_group(word):
            continue
        override = _parse(word)
        node = override.key_or_group.partition(".")[0]
        own = word in QUICK[script] and any(group.lstrip("~").partition("=")[0] == node for group in groups)
        if own and OmegaConf.select(config, override.key_or_group) is None:
            continue  # of another choice of its group
        add = override.is_add() or isinstance(override.value(), dict)
        OmegaConf.update(config, override.key_or_group, override.value(), merge=False, force_add=add)
    return config


def start(script: str, directory: Path, *typed: str) -> Path:
    """Do a small job of a script, with the words typed, in a directory, which is returned."""
    config = composed_of(script, *typed)
    with without_run_figures():
        STARTS[script](Job(plain(config), directory, overrides=(*QUICK[script], *typed)), config)
    return directory


@contextmanager
def without_run_figures() -> Iterator[None]:
    """As the fixture of conftest.py, for fixtures that are made before it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("start_training.reports.run_report.figures", lambda *_: {"lengths": Figure(figsize=(0.1, 0.1))})
        yield
