"""Ask `diagnose` and peers about every net of the zoo (tests/zoo), and count how often each is right.

A verdict is stored as soon as it is given, in tests/zoo/verdicts; a campaign that was stopped goes on where it was.
Peers that are not installed are not asked; docs/benchmarks.md says how to install them.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from start_training.cli.arguments import parse
from tests.zoo.labels import read_labels
from tests.zoo.net import ZooNet
from tests.zoo.nets import FAMILIES, NETS
from tests.zoo.peers.answers import Judge, first_line, quiet
from tests.zoo.peers.judges import JUDGES
from tests.zoo.peers.scores import (
    DIRECTORY,
    HEALTHY,
    REFUSED,
    SICK,
    Score,
    Verdicts,
    markdown,
    read_verdicts,
    reasons,
    score,
    truths,
    write_verdicts,
)

KEPT = 3  # findings of a net that are stored


def verdict(judge: Judge, net: ZooNet) -> dict[str, Any]:
    """Ask about one net. What the judge cannot judge, and so raises, is a refusal."""
    began = time.process_time()
    try:
        with quiet():
            answer = judge.ask(net)
        row = {"verdict": HEALTHY if answer.healthy else SICK, "starts": answer.starts}
        findings = list(answer.findings[:KEPT])
    except Exception as error:
        row, findings = {"verdict": REFUSED, "starts": None}, [f"{type(error).__name__}: {first_line(error)}"]
    return {**row, "findings": findings, "version": judge.version(), "seconds": round(time.process_time() - began, 1)}


def totals(stored: dict[str, Verdicts]) -> str:
    """A row for each judge, and for two that say the same about every net: the scores on both questions."""
    right = truths(NETS.values(), read_labels())
    constant = {f"(calls all {word})": {name: {"verdict": word, "starts": None} for name in NETS}
                for word in (HEALTHY, SICK)}  # fmt: skip
    rows: list[list[Any]] = []
    for judge, verdicts in {**stored, **constant}.items():
        versions = ", ".join(sorted({row.get("version", "") for row in verdicts.values()}))
        seconds = sum(row.get("seconds", 0) for row in verdicts.values())
        health, start = (score(verdicts, truth, question) for question, truth in right.items())
        rows.append([judge, versions, *_cells(health), *_cells(start)[:3], f"{seconds:.0f}"])
    counted = ["right", "false alarms", "misses"]
    header = ["judge", "version", *[f"healthy: {word}" for word in counted], "refused",
              *[f"starts: {word}" for word in counted], "s"]  # fmt: skip
    return markdown(header, rows)


def _cells(counts: Score) -> list[Any]:
    return [f"{counts.right} of {counts.asked}", counts.false_alarms, counts.misses, counts.refused]


def by_family(stored: dict[str, Verdicts]) -> str:
    """A row for each family: right, false alarms, misses and refusals of each judge on `healthy`."""
    right = truths(NETS.values(), read_labels())["healthy"]
    rows: list[list[Any]] = []
    for family in FAMILIES:
        truth = {name: right[name] for name in NETS if NETS[name].family == family}
        counts = [score(verdicts, truth) for verdicts in stored.values()]
        cells = [f"{one.right} / {one.false_alarms} / {one.misses} / {one.refused}" for one in counts]
        rows.append([family, len(truth), sum(truth.values()), *cells])
    return markdown(["family", "nets", "healthy", *stored], rows)


def why(stored: dict[str, Verdicts]) -> str:
    """For each judge the commonest reasons of refusals and of false alarms."""
    right = truths(NETS.values(), read_labels())["healthy"]
    lines = []
    for judge, verdicts in stored.items():
        refused = [name for name, row in verdicts.items() if row["verdict"] == REFUSED]
        alarms = [name for name, row in verdicts.items() if row["verdict"] == SICK and right.get(name)]
        for word, names in (("refused", refused), ("false alarms", alarms)):
            if names:
                lines.append(f"{judge}, {word} ({len(names)}): {reasons(verdicts, names)}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/verify.py peers", description=__doc__.splitlines()[0])
    parser.add_argument("--judge", choices=JUDGES, action="append", help="only this one; may be repeated")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="only nets of this family")
    parser.add_argument("--again", action="store_true", help="also ask about nets on which a verdict is stored")
    parser.add_argument("--minutes", type=float, default=60, help="minutes after which no net is judged (60)")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="of the verdicts (tests/zoo/verdicts)")
    options = parse(parser, arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TQDM_DISABLE", "1")  # of neural-net-checklist
    torch.set_num_threads(1)  # nets this small are fastest on one
    end, left = time.monotonic() + 60 * options.minutes, 0
    nets = [net for net in NETS.values() if net.family in (options.family or FAMILIES)]
    stored: dict[str, Verdicts] = {}
    for name in options.judge or JUDGES:
        version = JUDGES[name].version()
        verdicts = {net: row for net, row in read_verdicts(name, options.directory).items() if net in NETS}
        if version is None:
            print(f"{name} is not asked: {JUDGES[name].distribution} is not installed")
        for net in nets if version else ():
            if not options.again and verdicts.get(net.name, {}).get("version") == version:
                continue
            if time.monotonic() >= end:
                left += 1
                continue
            row = verdicts[net.name] = verdict(JUDGES[name], net)
            write_verdicts(verdicts, name, options.directory)
            print(
                f"{name:22}{net.name:32}{row['verdict']:9}{row['seconds']:6.1f} s  {'; '.join(row['findings'])[:90]}",
                flush=True,
            )
        if verdicts:
            stored[name] = verdicts
    print(f"\n{totals(stored)}\n\n{by_family(stored)}\n\n{why(stored)}\n\n{left} verdicts missing")
    return int(left > 0)
