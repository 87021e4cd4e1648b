"""Compare the recipe with what people use, at equal epochs: AdamW and SGD as they are, Optuna, Prodigy, lr_find, …

Each contender gets a task, a budget of epochs that includes what it searches, and a seed of weights and batch order.
The result is the test score of the net that it ends with: accuracy, or R²; what is worse than a constant prediction,
or has diverged, counts as 0. Processor time is that of the whole attempt, and the overhead that beyond the time of
AdamW with a cosine for as many epochs.

The ten tasks were written down before the rules of the recipe; the tasks `--for-rules` are those they were made with.
An attempt is stored as soon as it ends; a benchmark that was stopped goes on where it was. The rows that are
reported in docs/benchmarks.md are in recipe_parts/rows.json, for `--show --file`.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir

from benchmarks._harness import ROOT, Columns, Session, benchmark, results_table
from benchmarks.recipe_parts.contenders import ADAMW_COSINE, CONTENDERS, RECIPES, WORDS, Attempt
from benchmarks.recipe_parts.scores import against, goals, ranks, summary_of
from benchmarks.recipe_parts.tasks import FOR_RULES, HELD_OUT, TASKS, BenchmarkTask
from start_training.runs.documents import finite
from start_training.settings import one_line
from tests.zoo.labels import write_rows

SEEDS = 3
FILE = ROOT / "runs" / "benchmark_recipe.json"
COMMON = ("logger=csv", "seeds=1")
RATE = "optimizer.lr="  # of an override
TOTAL_COLUMNS: Columns = {
    "contender": "{contender}",
    "rank": "{rank:.2f}",
    "within s.e. of best": "{within} of {tasks}",
    "wins–losses": "{wins}–{losses}",
    "cpu s": "{cpu:.1f}",
    "wall s": "{wall:.1f}",
    "overhead": lambda row: f"{row['overhead']:+.0%}",
    "diverged": "{diverged}",
}


def attempt(task: BenchmarkTask, contender: str, seed: int) -> dict[str, Any]:
    """Carry out an attempt in a directory that is removed, and return its row."""
    more = (f"budget={task.epochs}", f"seed={seed}", *COMMON, *WORDS.get(contender, ()))
    row: dict[str, Any] = {"task": task.name, "contender": contender, "seed": seed, "error": ""}
    with tempfile.TemporaryDirectory() as directory:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
                config = compose("recipe", [*task.words, *more])
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # hides a line for each run
                row |= CONTENDERS[contender](Attempt(config, Path(directory), task.epochs))
        except Exception as error:  # counts as a net that has learned nothing
            row |= {"score": None, "error": f"{type(error).__name__}: {one_line(error)}"[:300]}
        row |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return short(row)


def short(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with rounded numbers, and without the overrides of a last run that are the same in all rows."""
    chosen = dict(row.get("chosen") or {})
    if overrides := chosen.pop("overrides", None):
        chosen |= {"lr": next((float(word.partition("=")[2]) for word in overrides if word.startswith(RATE)), None)}
    kept = {**row, "chosen": chosen} if "chosen" in row else row
    return json.loads(json.dumps(finite(kept), default=float), parse_float=lambda text: float(f"{float(text):.5g}"))


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Return the stored attempts."""
    return json.loads(file.read_text()) if file.exists() else []


def show(session: Session, rows: Sequence[dict[str, Any]], tasks: Sequence[BenchmarkTask]) -> None:
    """Print scores by task and contender, ranks, and the goals; only tasks that all shown contenders have finished."""
    table = pd.DataFrame([row for row in rows if row["task"] in {task.name for task in tasks}])
    if table.empty:
        return
    scores = summary_of(table)
    session.print(*(f"{task.name}: {task.about}, {task.epochs} epochs" for task in tasks))
    columns: Columns = {"contender": "{contender}", **{name: f"{{{name}}}" for name in scores.columns}}
    cells = [{"contender": name, **{str(task): cell for task, cell in row.items()}} for name, row in scores.iterrows()]
    session.print(results_table("test score in percent, mean ± standard error", columns, cells))
    session.print(results_table("all tasks", TOTAL_COLUMNS, ranks(table)))
    for recipe in RECIPES:
        session.print(*against(table, recipe), *goals(table, recipe, ADAMW_COSINE))
    session.results["rows"] = list(rows)


@benchmark(
    quick="one seed",
    on_gpu=False,
    width=200,
    task={"choices": [*TASKS], "action": "append", "help": "only this task; may be repeated"},
    contender={"choices": [*CONTENDERS], "action": "append", "help": "only this contender; may be repeated"},
    for_rules={"action": "store_true", "help": "the tasks with which the rules were made, instead of the ten others"},
    again={"action": "store_true", "help": "also attempts with a stored row"},
    minutes={"type": float, "default": 75, "help": "minutes after which no attempt begins (75)"},
    show={"action": "store_true", "help": "only print what is stored"},
    file={"type": Path, "default": FILE, "help": "where attempts are stored (runs/benchmark_recipe.json)"},
)
def main(session: Session) -> None:
    options = session.options
    torch.set_num_threads(options.threads or 1)
    tasks = [TASKS[name] for name in options.task or ()] or [*(FOR_RULES if options.for_rules else HELD_OUT)]
    contenders = options.contender or [*CONTENDERS]
    rows = read_rows(options.file)
    done = {(row["task"], row["contender"], row["seed"]) for row in rows} if not options.again else set()
    end = time.monotonic() + 60 * options.minutes
    options.file.parent.mkdir(parents=True, exist_ok=True)
    missing = [key for seed in range(1 if options.quick else SEEDS) for task in tasks for name in contenders
               if (key := (task.name, name, seed)) not in done]  # fmt: skip
    for key in [] if options.show else missing:
        if time.monotonic() >= end:
            break
        row = attempt(TASKS[key[0]], key[1], key[2])
        rows = [*(old for old in rows if (old["task"], old["contender"], old["seed"]) != key), row]
        write_rows(rows, options.file)
        outcome = row["error"] or f"{np.nan if row['score'] is None else row['score']:.4f}"
        session.print(f"{key[0]}, {key[1]}, seed {key[2]}: {outcome}; {row['cpu']:.1f} s")
    show(session, rows, tasks)
