"""Check that this checkout computes bit by bit the same as another commit: python tests/golden/compare.py BASE.

Both run the same commands at tiny size on this machine, in two environments, and every table, metric, weight, array and
summary that they write is compared. There are no stored reference numbers, since results differ between processors.
Times, versions, commits, identity hashes and the module of a class (`_target_`), which may move, are not compared. The
exit status is 0 if the results are the same, and 1 if they differ; differences are printed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from start_training.runs.moved_targets import first_name

ROOT = Path(__file__).parents[2]
NET = ("model.depth=3", "model.width=8", "datamodule.batch_size=256")
CSV = ("logger=csv",)
TRAIN = (*NET, *CSV, "trainer.max_epochs=2", "trainer.enable_progress_bar=false")
SWEEP = ("-m", *TRAIN, "seed=0,1", "optimizer.lr=0.01,0.1", "hydra.sweep.dir=out")
QUICK_TEST = ("range_tests.range_test.steps=40", "range_tests.range_test.val_points=20")
TINY = ("datamodule.batch_size=512", "model.depth=3", *CSV)
COMMANDS: dict[str, tuple[str, ...]] = {  # script and command-line arguments by name
    "train": ("train", *TRAIN, "callbacks=start_of_training", "model.dropout=0.1", "hydra.run.dir=out"),
    "train_residual": ("train", "model=residual", "model.modules=3", "optimizer=adamw", "schedule=one_cycle",
                       *TRAIN[2:], "hydra.run.dir=out"),
    "train_convolutional": ("train", "model=convolutional", "model.depth=2", "model.channels=4", *TRAIN[2:],
                            "hydra.run.dir=out"),
    "train_phase": ("train", "model=tanh_layer", "initializer=phase", "callbacks=phase_and_lengths", *TRAIN[3:],
                    "datamodule.validation=0", "callbacks.phase.iterations=10", "hydra.run.dir=out"),
    "sweep_basic": ("train", *SWEEP),
    "sweep_process": ("train", *SWEEP, "hydra/launcher=process"),
    "sweep_replicas": ("train", *SWEEP, "hydra/launcher=replicas"),
    "simulate": ("simulate", *CSV, "nets=50", "model.depth=5", "hydra.run.dir=out", "progress=false"),
    "simulate_residual": ("simulate", *CSV, "model=residual", "model.modules=5", "nets=50", "hydra.run.dir=out",
                          "progress=false"),
    "range_test": ("range_test", *NET, *CSV, "callbacks.range_test.steps=40", "callbacks.range_test.val_points=20",
        "hydra.sweep.dir=out"),
    "search": ("search", *TINY, "search=weight_decay", "search.values=[1e-2,1e-4]", "search.rounds=0",
               "search.best=1", "seeds=1", "trainer.max_epochs=1", *QUICK_TEST, "hydra.run.dir=out"),
    "recipe": ("recipe", *TINY, "datamodule.batch_size=128", "budget=24", "weight_decays=[1e-2,1e-4]", "times=2",
               "baseline_lrs=[0.01]", "seeds=1", *QUICK_TEST, "hydra.run.dir=out"),
    "diagnose": ("diagnose", "nets=5", "model.depth=6", "out=out/diagnosis.json"),
    "diagnose_default": ("diagnose", "nets=5", "model.depth=30", "initializer=torch_default",
                         "out=out/diagnosis.json"),
    "phase_diagram": ("phase_diagram", *CSV, "N=60", "matrices=2", "iterations=60", "average=20", "J0_over_J.bins=8",
                      "inverse_J.bins=6", "finite_size.N=[30,60]", "finite_size.matrices=2",
                      "finite_size.iterations=100", "finite_size.inverse_J.bins=8", "hydra.run.dir=out"),
    "weight_decay": ("weight_decay", *CSV, "datamodule.batch_size=128", "optimizer.lr=0.04", "measure=8",
                     "window=[5,8]", "seeds=1", "train=true", "epochs=4", "factors=[0,1]", "speed=null",
                     "hydra.run.dir=out"),
}  # fmt: skip
STATUSES = {"diagnose_default": 3}  # expected exit statuses other than 0
# Intended differences, as (regular expression of "command/file:key", largest relative difference), such as statistics
# that are now computed by a library.
ALLOWED: tuple[tuple[str, float], ...] = ()
# Keys of times, versions and identity hashes; instead of a hash, the config from which it is computed is compared.
LEFT_OUT = re.compile(
    r"(^|\.)(seconds|\w+_seconds|versions|commit|config_hash|configuration|pytorch-lightning_version)($|\.)"
)
_HASHED = "HASH"
HASH = re.compile(r"^[0-9a-f]{12}$")


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """Check out a commit into a folder, make its environment, and remove both at the end."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        if (ROOT / "uv.lock").exists():  # the same versions, as far as its bounds allow them
            shutil.copy(ROOT / "uv.lock", folder)
        environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        subprocess.run(["uv", "sync", "--quiet"], cwd=folder, env=environment, check=True)
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def run(root: Path, name: str, folder: Path) -> None:
    """Run one command with the environment of the tree `root` in `folder`; its output is in log.txt there."""
    folder.mkdir(parents=True)
    (folder / "out").mkdir()
    script, *words = COMMANDS[name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "MPLBACKEND": "agg"}
    environment.pop("PYTHONPATH", None)
    with (folder / "log.txt").open("w") as log:
        command = [str(root / ".venv" / "bin" / "python"), str(root / "scripts" / f"{script}.py"), *words]
        status = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log).returncode
    if status != STATUSES.get(name, 0):
        tail = "\n".join((folder / "log.txt").read_text().splitlines()[-15:])
        raise SystemExit(f"{' '.join(command)}\nended with status {status}:\n{tail}")


def files(folder: Path) -> dict[str, Path]:
    """Return the files that a command has written, by a name without hashes, which is the same in both trees."""
    names = {path: _name(path) for path in folder.rglob("*") if path.is_dir()}
    by_name = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            parts = [names[parent] for parent in reversed(path.relative_to(folder).parents[:-1])
                     for parent in [folder / parent]]  # fmt: skip
            by_name["/".join([*parts, _without_part(path.name)])] = path
    return by_name


def _name(folder: Path) -> str:
    """Return the name of a folder, or the config of its run if the name is the hash of the config."""
    config = folder / "config.yaml"
    if not HASH.match(folder.name) or not config.exists():
        return folder.name
    values = flat(without_places(yaml.safe_load(config.read_text())))
    return "{" + ", ".join(f"{key}={values[key]}" for key in sorted(values)) + "}"


def _without_part(name: str) -> str:
    return re.sub(r"[0-9a-f]{12,}", _HASHED, name)


def without_places(config: Any) -> Any:
    """Return a config whose `_target_`s are the first names of their classes, without their modules."""
    if isinstance(config, Mapping):
        return {key: first_name(str(value)).rpartition(".")[2] if key == "_target_" else without_places(value)
                for key, value in config.items()}  # fmt: skip
    return [without_places(value) for value in config] if isinstance(config, list | tuple) else config


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return all leaves of nested data by dotted key."""
    if isinstance(value, Mapping) and value:
        return {name: leaf for key, item in value.items() for name, leaf in flat(item, f"{prefix}.{key}").items()}
    if isinstance(value, list | tuple) and value:
        return {name: leaf for key, item in enumerate(value) for name, leaf in flat(item, f"{prefix}.{key}").items()}
    return {prefix.lstrip("."): value}


def read(path: Path) -> dict[str, Any]:
    """Read the content of a file by key, such as columns of a table or tensors of a checkpoint; empty for images."""
    match path.suffix:
        case ".parquet":
            return {str(name): column.to_numpy() for name, column in pd.read_parquet(path).items()}
        case ".csv":
            return {str(name): column.to_numpy() for name, column in pd.read_csv(path).items()}
        case ".json":
            return flat(without_places(json.loads(path.read_text())))
        case ".yaml":
            return flat(without_places(yaml.safe_load(path.read_text())))
        case ".ckpt" | ".pt":
            return flat(torch.load(path, weights_only=True, map_location="cpu"))
        case ".npz":
            return dict(np.load(path))
        case ".npy":
            return {"": np.load(path)}
    return {}


def differences(base: Path, head: Path) -> Iterator[tuple[str, str]]:
    """Yield (file and key, difference) for all differences of two folders that the same command has written."""
    ours, theirs = files(head), files(base)
    for name in sorted(ours.keys() ^ theirs.keys()):
        yield name, f"only in {'HEAD' if name in ours else 'BASE'}"
    for name in sorted(ours.keys() & theirs.keys()):
        ours_read, theirs_read = read(ours[name]), read(theirs[name])
        for key in sorted(ours_read.keys() | theirs_read.keys()):
            if LEFT_OUT.search(key):
                continue
            if key not in ours_read or key not in theirs_read:
                yield f"{name}:{key}", f"only in {'HEAD' if key in ours_read else 'BASE'}"
            elif different := difference(theirs_read[key], ours_read[key]):
                yield f"{name}:{key}", different


def difference(base: Any, head: Any) -> str:
    """Describe how two values differ; empty if they are equal bit by bit, with NaN in the same places."""
    one, other = (without_hashes(np.asarray(value)) for value in (base, head))
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"{one.dtype}{one.shape} is {other.dtype}{other.shape}"
    if one.dtype.kind in "fc":
        if np.array_equal(one, other, equal_nan=True):
            return ""
        if (np.isnan(one) != np.isnan(other)).any():
            return "NaN in other places"
        with np.errstate(all="ignore"):
            relative = np.nanmax(np.abs(one - other) / np.maximum(np.abs(one), np.abs(other)))
        return f"relative {relative:.3g}"
    if np.array_equal(one, other):
        return ""
    return f"{base!r} is {head!r}" if one.ndim == 0 else f"{int((one != other).sum())} of {one.size} entries"


def without_hashes(values: np.ndarray) -> np.ndarray:
    """Return the values with a constant text instead of each hash of a run."""
    if values.dtype.kind not in "OUT":
        return values
    hidden = [_HASHED if isinstance(value, str) and HASH.match(value) else value for value in values.ravel().tolist()]
    return np.array(hidden, dtype=object).reshape(values.shape)


def allowed(where: str, what: str) -> bool:
    relative = float(what.split()[1]) if what.startswith("relative ") else float("inf")
    return any(re.search(pattern, where) and relative <= largest for pattern, largest in ALLOWED)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", metavar="BASE", help="the commit to compare with")
    parser.add_argument("--only", metavar="COMMAND", action="append", choices=COMMANDS, help="one of the commands")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep all results here")
    options = parser.parse_args(arguments)
    names = options.only or list(COMMANDS)
    with tempfile.TemporaryDirectory() as scratch:
        results = (options.keep or Path(scratch) / "results").resolve()
        with worktree(options.base, Path(scratch) / "base") as base, ThreadPoolExecutor(2) as pool:
            trees = {"base": base, "head": ROOT}
            list(pool.map(lambda job: run(trees[job[1]], job[0], results / job[1] / job[0]),
                          [(name, tree) for name in names for tree in trees]))  # fmt: skip
        wrong = 0
        for name in names:
            read_files = files(results / "head" / name / "out")
            different = [(f"{name}/{where}", what) for where, what in differences(
                results / "base" / name / "out", results / "head" / name / "out")]  # fmt: skip
            for where, what in different:
                print(f"{'allowed' if allowed(where, what) else 'DIFFERS'}  {where}  {what}")
            wrong += sum(not allowed(where, what) for where, what in different)
            print(f"{name}: {len(read_files)} files, {len(different) or 'no'} differences", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
