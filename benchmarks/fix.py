"""Compare `fix_` with other ways to initialize, on the sick nets of tests/zoo: which of them start to train then?

A case is a net and an optimizer with which it does not start as it is, by its labels (what most stored seeds say);
without nets that no weights can mend (frozen, detached, dropout of 0.99, a softmax too many), and without those whose
label took more than --most seconds. Whether it starts after a way is decided by the procedure of the labels
(tests/zoo/training.py): fresh samples, held-out data, the best of three or four rates. `fix_` is told the optimizer;
its own trial does not count.

With --healthy, `fix_` is applied to the nets that are as they should be: it may not change one for the worse.

A way that changes frozen parameters has not mended the net that it was given, and counts as one after which the net
does not start: what is frozen is meant to stay, such as a pretrained backbone.

An outcome is stored as soon as it is known; a benchmark that was stopped goes on where it was.
"""

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks._harness import Session, benchmark
from benchmarks.fix_parts.ways import AS_IS, FIX, WAYS, apply, installed
from start_training.settings import one_line
from tests.zoo.labels import read_labels, starts, write_rows
from tests.zoo.nets import FAMILIES, NETS, held_out
from tests.zoo.peers.scores import markdown
from tests.zoo.training import RATES, label_of

FILE = Path(__file__).parents[1] / "tests/zoo/verdicts/fix.json"
HOPELESS = {"frozen", "detached", "dropout", "double_softmax"}  # ways in which no weights can be at fault
MOST = 20.0  # seconds of a label
Case = tuple[str, str]  # name of a net, optimizer
Outcomes = dict[tuple[str, str, str, int], dict[str, Any]]  # of net, optimizer, way, seed


def cases(most: float = MOST, *, healthy: bool = False) -> list[Case]:
    """Return the sick nets with each optimizer with which they do not start, or the healthy ones that start."""
    labels = read_labels()
    pairs = [(name, optimizer) for name in NETS for optimizer in RATES]
    if healthy:
        return [(name, by) for name, by in pairs if NETS[name].healthy and starts(name, by, labels)]
    sick = [pair for pair in pairs if starts(*pair, labels) is False and not HOPELESS & {*NETS[pair[0]].ways}]
    return [pair for pair in sick if labels[*pair, 0]["seconds"] <= most]


def outcome(case: Case, way: str, seed: int) -> dict[str, Any]:
    """Apply a way to a net, and train it if that has changed it."""
    zoo, optimizer = NETS[case[0]], case[1]
    original = zoo.make(seed)
    net, began = copy.deepcopy(original), time.process_time()
    try:
        change = apply(way, net, zoo, optimizer, seed)
    except Exception as error:  # it cannot take the net, which stays as it is
        net, change = original, f"refused: {type(error).__name__}: {one_line(error)}"
    seconds, label = time.process_time() - began, None
    frozen = [name for name, one in original.named_parameters() if not one.requires_grad]
    if any(not torch.equal(net.get_parameter(name), original.get_parameter(name)) for name in frozen):
        change, label = f"changed frozen parameters: {change}", False
    elif any(not torch.equal(one, other) for one, other in zip(net.parameters(), original.parameters(), strict=True)):
        label = label_of(replace(zoo, build=lambda: copy.deepcopy(net)), optimizer, seed).starts
    return {"starts": label, "change": change[:200], "seconds": round(seconds, 2)}


def started(row: dict[str, Any], case: Case, labels: Any, seed: int) -> bool:
    """Return whether a net starts after a way; one that was not changed does what its label says."""
    return bool(labels[*case, seed]["starts"] if row["starts"] is None else row["starts"])


def table(outcomes: Outcomes, asked: Sequence[Case], seed: int, labels: Any) -> str:
    """Count the nets that start, by family, for all ways."""
    ways = [way for way in WAYS if any((*case, way, seed) in outcomes for case in asked)]
    rows = []
    for title, names in [*((family, None) for family in FAMILIES), ("all", None), ("held out", held_out())]:
        inside = [case for case in asked if title in ("all", NETS[case[0]].family) or (names and case[0] in names)]
        cells = [str(sum(labels[*case, seed]["starts"] for case in inside))]
        for way in ways:
            rows_of = [(case, outcomes[*case, way, seed]) for case in inside if (*case, way, seed) in outcomes]
            count = sum(started(row, case, labels, seed) for case, row in rows_of)
            cells.append(f"{count}" if len(rows_of) == len(inside) else f"{count} of {len(rows_of)}")
        rows.append([title, len(inside), *cells])
    rows_by_way = [[outcomes[*case, way, seed] for case in asked if (*case, way, seed) in outcomes] for way in ways]
    rows.append(["seconds", "", "", *(f"{sum(row['seconds'] for row in of_way):.0f}" for of_way in rows_by_way)])
    return markdown(["family", "cases", AS_IS, *ways], rows)


def read_outcomes(file: Path) -> Outcomes:
    """Return the stored outcomes."""
    rows = json.loads(file.read_text()) if file.exists() else []
    return {(row.pop("net"), row.pop("optimizer"), row.pop("way"), row.pop("seed")): row for row in rows}


def write_outcomes(outcomes: Outcomes, file: Path) -> None:
    """Replace the file, one outcome a line, in order."""
    keys = ("net", "optimizer", "way", "seed")
    write_rows([{**dict(zip(keys, key, strict=True)), **row} for key, row in sorted(outcomes.items())], file)


@benchmark(
    quick="only the first case of each family",
    on_gpu=False,
    way={"choices": [*WAYS], "action": "append", "help": "only this way; may be repeated"},
    family={"choices": FAMILIES, "action": "append", "help": "only nets of this family; may be repeated"},
    seed={"type": int, "default": 0, "help": "seed of weights and samples (0)"},
    most={"type": float, "default": MOST, "help": f"seconds of a label above which a case is left out ({MOST:g})"},
    healthy={"action": "store_true", "help": "apply fix_ to the healthy nets instead"},
    held_out={"action": "store_true", "help": "only the third on which no limit was chosen"},
    again={"action": "store_true", "help": "also cases with a stored outcome"},
    minutes={"type": float, "default": 60, "help": "minutes after which no case begins (60)"},
    file={"type": Path, "default": FILE, "help": f"where outcomes are stored (tests/zoo/verdicts/{FILE.name})"},
)
def main(session: Session) -> None:
    options = session.options
    torch.set_num_threads(1)
    asked = [
        case for case in cases(options.most, healthy=options.healthy) if not options.held_out or case[0] in held_out()
    ]
    asked = [case for case in asked if NETS[case[0]].family in (options.family or FAMILIES)]
    if options.quick:
        asked = [*{NETS[case[0]].family: case for case in reversed(asked)}.values()]
    outcomes, labels = read_outcomes(options.file), read_labels()
    ways = list(options.way or ([FIX] if options.healthy else WAYS))
    session.print(*[f"{way}: not installed, see benchmarks/fix_parts/peers.txt" for way in ways if not installed(way)])
    keys = [(*case, way, options.seed) for case in asked for way in ways if installed(way)]
    missing = [key for key in keys if options.again or key not in outcomes]
    end, left = time.monotonic() + 60 * options.minutes, len(missing)
    for key in missing:
        if time.monotonic() >= end:
            break
        outcomes[key] = outcome(key[:2], key[2], key[3])
        write_outcomes(outcomes, options.file)
        left -= 1
    worse = [key for key in keys if key in outcomes and not started(outcomes[key], key[:2], labels, key[3])
             and labels[*key[:2], key[3]]["starts"]]  # fmt: skip
    session.results["outcomes"] = [{"key": key, **outcomes[key]} for key in keys if key in outcomes]
    session.print(table(outcomes, asked, options.seed, labels), f"started before and not after: {worse or 'none'}")
    session.print(f"{len(keys) - left} outcomes of {len(keys)}, {left} missing")
