"""Label the nets of the zoo (tests/zoo) by training them: does each start with SGD, and with Adam?

A label is stored as soon as it is known, in tests/zoo/labels.json; a campaign that was stopped goes on where it was.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from start_training.cli.arguments import parse
from tests.zoo.labels import FILE, Labels, contested, read_labels, write_labels
from tests.zoo.nets import FAMILIES, NETS
from tests.zoo.training import RATES, label_of

Key = tuple[str, str, int]  # name of the net, optimizer, seed


def selected(families: Sequence[str], seeds: Sequence[int]) -> list[Key]:
    """Return the keys of the labels of some families: all of the first seed first."""
    names = [net.name for net in NETS.values() if net.family in families]
    return [(name, optimizer, seed) for seed in seeds for name in names for optimizer in RATES]


def table(labels: Labels) -> str:
    """Count the labels of each family: how many nets start, by how they were built, and what the trainings took."""
    lines = [f"{'family':18}{'labels':>8}{'healthy: sgd, adam':>22}{'broken: sgd, adam':>22}{'minutes':>9}"]
    for family in FAMILIES:
        rows = {key: row for key, row in labels.items() if NETS[key[0]].family == family}
        cells = ""
        for healthy in (True, False):
            counts = []
            for optimizer in RATES:
                votes = [row["starts"] for (name, by, _), row in rows.items()
                         if by == optimizer and NETS[name].healthy == healthy]  # fmt: skip
                counts.append(f"{sum(votes)}/{len(votes)}")
            cells += f"{', '.join(counts):>22}"
        minutes = sum(row["seconds"] for row in rows.values()) / 60
        lines.append(f"{family:18}{len(rows):>8}{cells}{minutes:>9.1f}")
    disagreeing = contested(labels)
    return "\n".join([*lines, *([f"seeds disagree: {', '.join(disagreeing)}"] if disagreeing else [])])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py zoo", description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=FAMILIES, action="append", help="only nets of this family")
    parser.add_argument("--seed", type=int, action="append", help="seed of weights and samples; may be repeated (0)")
    parser.add_argument("--again", action="store_true", help="also train nets that have a label")
    parser.add_argument("--minutes", type=float, default=60, help="minutes after which no training begins (60)")
    parser.add_argument("--file", type=Path, default=FILE, help="where labels are stored (tests/zoo/labels.json)")
    options = parse(parser, arguments)
    labels = {key: row for key, row in read_labels(options.file).items() if key[0] in NETS}
    keys = selected(options.family or FAMILIES, options.seed or [0])
    missing = [key for key in keys if options.again or key not in labels]
    torch.set_num_threads(1)  # nets this small train fastest on one
    end, done = time.monotonic() + 60 * options.minutes, 0
    for name, optimizer, seed in missing:
        if time.monotonic() >= end:
            break
        row = label_of(NETS[name], optimizer, seed).plain()
        old, labels[name, optimizer, seed] = labels.get((name, optimizer, seed)), row
        done += 1
        write_labels(labels, options.file)
        changed = " (was not)" if old and old["starts"] != row["starts"] else ""
        answer = "starts" if row["starts"] else "no"
        print(f"{name:32}{optimizer:6}{seed:3}  {answer:7}{row['seconds']:7.1f} s{changed}", flush=True)
    left = len(missing) - done
    print(f"\n{table(labels)}\n\n{len(keys) - left} labels of {len(keys)}, {left} missing")
    return int(left > 0)
