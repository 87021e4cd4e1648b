"""Diagnose every net of the zoo (tests/zoo), and compare both answers with its labels and defects.

A verdict is stored as soon as it is given, in tests/zoo/verdicts/diagnosis.json; a campaign that was stopped goes on
where it was.
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from start_training import diagnose
from start_training.cli.arguments import parse
from tests.zoo.labels import read_labels, write_rows
from tests.zoo.net import ZooNet
from tests.zoo.nets import FAMILIES, NETS, held_out

FILE = Path(__file__).parents[1] / "zoo/verdicts/diagnosis.json"
SAMPLES = 64
BATCH_SEED = 10**5  # of the samples: none with which a net was trained
REFUSED = "REFUSED"
Verdicts = dict[tuple[str, int], dict[str, Any]]  # of (name of the net, seed)


def verdict(net: ZooNet, seed: int) -> dict[str, Any]:
    """Diagnose a net with the weights of a seed on a batch of its task, with the loss of the task."""
    inputs, targets = net.task.batch(SAMPLES, BATCH_SEED + seed)
    inputs, began = inputs[0] if len(inputs) == 1 else inputs, time.monotonic()
    try:
        diagnosis = diagnose(net.make(seed), inputs, targets=targets, loss=net.task.loss, seed=seed)
    except Exception as error:
        return {"verdict": REFUSED, "reason": f"{type(error).__name__}: {error}"[:160]}
    answers = {family: start.answer for family, start in diagnosis.starts.items()}
    found = {"verdict": diagnosis.verdict, **answers, "defects": [one.defect for one in diagnosis.defects]}
    reasons = {family: start.reason for family, start in diagnosis.starts.items()}
    return {**found, "reasons": reasons, "seconds": round(time.monotonic() - began, 1)}


class Comparison(NamedTuple):
    """A verdict beside what is known.

    Args:
        starts: whether both answers on the start are right.
        defects: whether the answer on defects is right.
        alarm: whether a net that was built as it should be is called anything but healthy.
        undecided: whether an answer is uncertain, not judged, or refused.
        named: whether all of the net's defects are among those that were found.
    """

    starts: bool
    defects: bool
    alarm: bool
    undecided: bool
    named: bool


def compare(net: ZooNet, row: dict[str, Any], labels: Any) -> Comparison:
    """Compare a verdict, whose `seed` is among its entries, with the labels of that seed and the defects of a net."""
    known = {family: labels[net.name, family, row["seed"]]["starts"] for family in ("sgd", "adam")}
    right = [row.get(family) == ("yes" if label else "no") for family, label in known.items()]
    found = row.get("defects", [])
    refused = row["verdict"] == REFUSED
    return Comparison(
        starts=all(right) and not refused,
        defects=bool(found) == bool(net.defects) and not refused,
        alarm=net.healthy and row["verdict"] != "HEALTHY",
        undecided=refused or not {row["sgd"], row["adam"]} <= {"yes", "no"},
        named={*net.defects} <= {*found},
    )


def table(verdicts: Verdicts) -> str:
    """A row for each seed, and for the third that was held out while limits were chosen and the rest."""
    labels, third = read_labels(), held_out()
    header = ["nets", "seed", "asked", "both answers right", "starts", "defects", "false alarms", "undecided"]
    lines = [header, ["---"] * len(header)]
    for title, inside in (("looked at", False), ("held out", True)):
        for seed in sorted({seed for _, seed in verdicts}):
            rows = [
                (NETS[name], row) for (name, of), row in verdicts.items() if of == seed and (name in third) == inside
            ]
            lines.append([title, str(seed), str(len(rows)), *_counts(rows, labels)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _counts(rows: Sequence[tuple[ZooNet, dict[str, Any]]], labels: Any) -> list[str]:
    compared = [compare(net, row, labels) for net, row in rows]
    healthy = sum(net.healthy for net, _ in rows)

    def of(count: int) -> str:
        return f"{count} ({count / max(len(rows), 1):.1%})"

    return [
        of(sum(one.starts and one.defects for one in compared)),
        of(sum(one.starts for one in compared)),
        of(sum(one.defects for one in compared)),
        f"{sum(one.alarm for one in compared)} of {healthy}",
        str(sum(one.undecided for one in compared)),
    ]


def misses(verdicts: Verdicts, names: Iterable[str]) -> list[str]:
    """A line for each wrong answer: the net, what is known, and what was said."""
    labels, lines = read_labels(), []
    for (name, seed), row in sorted(verdicts.items()):
        result = compare(NETS[name], row, labels)
        if name in names and not (result.starts and result.defects and not result.alarm):
            known = {family: labels[name, family, seed]["starts"] for family in ("sgd", "adam")}
            said = row.get("reason") or ", ".join(f"{family} {row[family]}" for family in known)
            lines.append(
                f"{name} (seed {seed}, {' '.join(NETS[name].ways) or 'good'}): starts {known}, defects "
                f"{[*NETS[name].defects]}; said {said}, {row.get('defects', [])}"
            )
    return lines


def read_verdicts(file: Path) -> Verdicts:
    """Return the stored verdicts."""
    rows = json.loads(file.read_text()) if file.exists() else []
    return {(row["net"], row["seed"]): row for row in rows}


def write_verdicts(verdicts: Verdicts, file: Path) -> None:
    """Replace the file, one verdict a line, in order."""
    write_rows([row for _, row in sorted(verdicts.items())], file)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py verdicts", description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=FAMILIES, action="append", help="only nets of this family")
    parser.add_argument("--seed", type=int, action="append", help="seed of weights and samples; may be repeated (0)")
    parser.add_argument("--held-out", action="store_true", help="only the third on which limits were not chosen")
    parser.add_argument("--again", action="store_true", help="also ask about nets that have a verdict")
    parser.add_argument("--minutes", type=float, default=60, help="minutes after which no diagnosis begins (60)")
    parser.add_argument(
        "--file", type=Path, default=FILE, help=f"where verdicts are stored (tests/zoo/verdicts/{FILE.name})"
    )
    options = parse(parser, arguments)
    verdicts = read_verdicts(options.file)
    names = [net.name for net in NETS.values() if net.family in (options.family or FAMILIES)]
    names = [name for name in names if (name in held_out()) or not options.held_out]
    keys = [(name, seed) for seed in options.seed or [0] for name in names]
    missing = [key for key in keys if options.again or key not in verdicts]
    torch.set_num_threads(1)
    end, done = time.monotonic() + 60 * options.minutes, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key in missing:
            if time.monotonic() >= end:
                break
            verdicts[key] = {"net": key[0], "seed": key[1], **verdict(NETS[key[0]], key[1])}
            write_verdicts(verdicts, options.file)
            done += 1
    asked = {key: verdicts[key] for key in keys if key in verdicts}
    print(table(asked), *misses(asked, names), sep="\n")
    print(f"\n{len(asked)} verdicts of {len(keys)}, {len(missing) - done} missing")
    return 0 if done == len(missing) else 1
