"""The stored answers to whether each net of the zoo starts to train: `labels.json`, from `scripts/verify.py zoo`."""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
Labels = dict[tuple[str, str, int], dict[str, Any]]  # of (name of the net, optimizer, seed)


def read_labels(file: Path = FILE) -> Labels:
    """Return the stored labels, each a `tests.zoo.training.Label` as plain data."""
    if not file.exists():
        return {}
    rows = json.loads(file.read_text())
    return {(row.pop("net"), row.pop("optimizer"), row.pop("seed")): row for row in rows}


def write_labels(labels: Labels, file: Path = FILE) -> None:
    """Replace the file by one with these labels, one a line, in order."""
    write_rows(
        [
            {"net": net, "optimizer": optimizer, "seed": seed, **label}
            for (net, optimizer, seed), label in sorted(labels.items())
        ],
        file,
    )


def write_rows(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Replace a file by a list with one row a line. It is never half written."""
    scratch = file.with_suffix(".part")
    scratch.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    os.replace(scratch, file)


def starts(name: str, optimizer: str, labels: Labels | None = None) -> bool | None:
    """Whether a net starts to train with `sgd` or `adam`: what most of its seeds say; None: no label, or a tie."""
    labels = read_labels() if labels is None else labels
    votes = [row["starts"] for (net, by, _), row in labels.items() if (net, by) == (name, optimizer)]
    return None if 2 * sum(votes) == len(votes) else 2 * sum(votes) > len(votes)


def contested(labels: Labels) -> list[str]:
    """Return the `name optimizer` of which some seeds start and others do not."""
    votes = defaultdict(set)
    for (name, optimizer, _), row in labels.items():
        votes[f"{name} {optimizer}"].add(row["starts"])
    return sorted(case for case, answers in votes.items() if len(answers) > 1)
