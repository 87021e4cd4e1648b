"""Runs that are provoked to go wrong in ten ways, or to go well: their settings, and which clues on them are right.

What is right follows from what was provoked, and from measurements that no rule for clues is part of (`shows`): a run
counts only if it shows what it was provoked to show. One of the two variants of each way and task, drawn by a seed, is
set aside while rules are changed.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from start_training.schedules import clue_verdicts as clues

DRAWN = 24  # seed of what is set aside
LOOKED_AT = (  # curves that were seen before the rule was changed, and so are not set aside
    *(f"{way}, dense, {number}" for way in ("memorization", "too much weight decay", "good") for number in (0, 1)),
    "too much dropout, dense, 1",
    "memorization, lenet, 0",
    "too much dropout, lenet, 1",
)
WORSE = 1.25  # a run went wrong if its test loss is this many times that of the best good run of its task

TASKS = {  # overrides
    "dense": ("model.depth=3", "model.width=64", "datamodule=digits"),
    "lenet": ("model=lenet", "model.channels=[4,8]", "model.widths=[32]", "model.padding=2"),
    "fashion": ("model.depth=3", "model.width=64", "datamodule=fashion_mnist", "datamodule.batch_size=128"),
    "friedman": ("model.depth=2", "model.width=64", "datamodule=friedman", "task=regression",
                 "datamodule.batch_size=128"),
    "tanh": ("model.depth=2", "model.width=100", "model.activation=tanh", "initializer=lecun_normal",
             "datamodule.batch_size=128"),
}  # fmt: skip
SIZES = {"fashion": 2000, "friedman": 1000}  # samples of training and validation; 1,437 of digits
CONSTANT, COSINE, ONE_CYCLE, STEP = (f"schedule={name}" for name in ("constant", "cosine", "one_cycle", "step"))
GOOD = (  # runs as one would make them; those near the best of their task count as good
    ("optimizer.lr=0.03", "optimizer.weight_decay=1e-3", ONE_CYCLE),
    ("optimizer.lr=0.02", "optimizer.weight_decay=3e-3", COSINE),
    ("optimizer=adamw", "optimizer.lr=2e-3", "optimizer.weight_decay=0.1", COSINE),
    ("optimizer.lr=0.01", "optimizer.weight_decay=3e-3", CONSTANT),
    ("optimizer=adam", "optimizer.lr=1e-3", "optimizer.weight_decay=1e-3", CONSTANT),
    ("optimizer.lr=0.02", "optimizer.weight_decay=1e-3", STEP),
    ("optimizer=adamw", "optimizer.lr=1e-3", "trainer.max_epochs=16", ONE_CYCLE),
    ("optimizer.lr=0.02", "model.dropout=0.2", "optimizer.weight_decay=1e-3", ONE_CYCLE),
)  # fmt: skip
SGD, ADAM, ADAMW = "optimizer=sgd", "optimizer=adam", "optimizer=adamw"
WAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # two variants of settings that provoke each
    "memorization": (
        ("optimizer.lr=0.03", "trainer.max_epochs=40", "datamodule.samples=600"),
        (ADAM, "optimizer.lr=3e-3", "trainer.max_epochs=30", "datamodule.samples=800", COSINE),
    ),
    "too much weight decay": (
        ("optimizer.lr=0.01", "optimizer.weight_decay=0.15", "trainer.max_epochs=25"),
        (ADAMW, "optimizer.lr=3e-3", "optimizer.weight_decay=5", COSINE),
    ),
    "too large a rate": (
        ("optimizer.lr=0.4", "trainer.max_epochs=25"),
        (ADAM, "optimizer.lr=0.05", "optimizer.weight_decay=1e-4"),
    ),
    "too small a rate": (
        ("optimizer.lr=3e-4", "optimizer.weight_decay=1e-3", "trainer.max_epochs=20"),
        (ADAMW, "optimizer.lr=3e-5"),
    ),
    "too much dropout": (
        ("optimizer.lr=0.02", "model.dropout=0.6"),
        (ADAM, "optimizer.lr=1e-3", "model.dropout=0.75", ONE_CYCLE),
    ),
    "too few epochs": (
        ("optimizer.lr=3e-3", "trainer.max_epochs=6", "datamodule.batch_size=128"),
        (ADAM, "optimizer.lr=5e-4", "trainer.max_epochs=7"),
    ),
    "noisy validation": (
        ("optimizer.lr=0.03", "datamodule.batch_size=8", "datamodule.samples=500", "datamodule.validation=0.04",
         "optimizer.weight_decay=3e-3", "trainer.max_epochs=20"),
        ("optimizer.lr=0.1", "datamodule.batch_size=16", "datamodule.samples=800", "datamodule.validation=0.025",
         "optimizer.weight_decay=1e-3", "trainer.max_epochs=20"),
    ),
    "tiny data": (
        ("optimizer.lr=0.02", "trainer.max_epochs=30", "datamodule.samples=160", "datamodule.validation=0.7",
         "datamodule.batch_size=8"),
        (ADAM, "optimizer.lr=2e-3", "trainer.max_epochs=30", "datamodule.samples=120", "datamodule.validation=0.6",
         "datamodule.batch_size=16", "optimizer.weight_decay=1e-5"),
    ),
    "divergence": (
        ("optimizer.lr=30", "trainer.max_epochs=12"),
        ("optimizer.lr=3", "optimizer.weight_decay=1", "trainer.max_epochs=12", ONE_CYCLE),
    ),
    "wrong labels": (
        ("optimizer.lr=0.03", "datamodule.wrong=0.4"),
        (ADAM, "optimizer.lr=2e-3", "datamodule.wrong=0.3"),
    ),
}  # fmt: skip
FITS = {clues.OVERFITTING, clues.MEMORIZED}
RIGHT = {  # verdicts
    "good": {clues.PLATEAU, clues.CANDIDATE},
    "memorization": FITS,
    "too much weight decay": {clues.REGULARIZED},
    "too large a rate": {clues.INSTABILITY, clues.NOT_LEARNING},
    "too small a rate": {clues.UNDERFITTING, clues.NOT_LEARNING},
    "too much dropout": {clues.REGULARIZED, clues.UNDERFITTING},
    "too few epochs": {clues.UNDERFITTING},
    "noisy validation": {clues.UNCLEAR, clues.INSTABILITY},
    "tiny data": FITS,
    "divergence": {clues.INSTABILITY},
    "wrong labels": FITS,
}
TRAINED_WORSE = {way for way in RIGHT if way.startswith("too ")}  # than a good run of the same task


class Case(NamedTuple):
    """A run: what was provoked in it on which task, its overrides, and whether it is set aside."""

    name: str
    way: str
    task: str
    overrides: tuple[str, ...]
    aside: bool


def cases() -> list[Case]:
    """Return all runs: of each way and task two, of which one is set aside, and good ones, half of them set aside."""
    drawn, made = random.Random(DRAWN), []
    for task in TASKS:
        for way, variants in {**WAYS, "good": GOOD}.items():
            names = [f"{way}, {task}, {number}" for number in range(len(variants))]
            unseen = [name for name in names if name not in LOOKED_AT]
            aside = drawn.sample(unseen, min(len(unseen), len(names) // 2))
            for number, (name, variant) in enumerate(zip(names, variants, strict=True)):
                seed = f"seed={100 * number + 10 * list(TASKS).index(task) + list(RIGHT).index(way)}"
                overrides = ("trainer.max_epochs=30", *TASKS[task], *variant, seed)
                made.append(Case(name, way, task, overrides, name in aside))
    return made


def shows(row: Mapping[str, Any], reference: float) -> bool:
    """Whether a run shows what it was provoked to show, by measurements alone.

    Args:
        row: A stored run.
        reference: The lowest test loss of the good runs of its task.
    """
    way, chance = row["way"], row["chance"] or 1.0  # the variance of the targets of a regression
    if way == "divergence":
        return row["diverged_at"] is not None
    if row["test_loss"] is None:  # only a divergence may have none
        return False
    train, val = np.array(row["train"], float), np.array(row["val"], float)
    late = val[len(val) // 2 :]
    if way == "good":
        return bool(row["test_loss"] <= 1.15 * reference + 0.02 * chance)
    if way in TRAINED_WORSE:
        return bool(row["test_loss"] >= WORSE * reference)
    if way == "noisy validation":
        return bool(np.std(np.diff(late)) > 0.25 * np.median(late))
    if way == "wrong labels":
        return bool(late[-3:].mean() > 1.15 * val.min())
    return bool(train[-1] < 0.02 * chance and late[-3:].mean() > train[-1] + 0.05 * chance)


def references(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return for each task the lowest test loss of its good runs."""
    lowest: dict[str, float] = {}
    for row in rows:
        if row["way"] == "good" and row["test_loss"] is not None:
            lowest[row["task"]] = min(row["test_loss"], lowest.get(row["task"], np.inf))
    return lowest
