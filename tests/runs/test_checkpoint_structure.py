"""A malformed checkpoint is refused in one line that names it, or resumes to the same run."""

import random
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from start_training.config.errors import error_message
from start_training.runs.checkpoint import load_checkpoint, load_newest
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.training.evaluate import evaluate
from start_training.training.train import train
from tests.signalling import interrupted

DELETED = object()
WRONG = (DELETED, None, "text", -1, 1.5, True, [], {}, [1], {"a": 1}, torch.zeros(2), torch.zeros(3, dtype=torch.int64))
OVERRIDES = ("optimizer=adamw", "schedule=one_cycle", "callbacks=start_of_training", "trainer.max_epochs=2")
DEPTH = 8
# What may be missing or changed without being malformed: a callback that is new in this run, a parameter that no loss
# depends on, settings that decide nothing here, and numbers that only show how far a run is.
FREE = ("callbacks", "optimizer_states/0/state", "epoch_loop.val_loop", "validate_loop", "test_loop", "predict_loop",
        "scheduler_progress", "manual_optimization", "zero_grad", "pytorch-lightning_version", "hparams", "initial_lr",
        "_batches_that_stepped", "epoch_losses", "epoch_samples", "started", "ready", "processed", "completed",
        "is_last_batch", "momentum", "random_states", "/epoch", "last_epoch",
        "combined_loader", "lr_schedulers")  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The config and directory of a run that was interrupted in its second epoch."""
    from tests.small_runs import composed

    config, path = composed(*OVERRIDES), tmp_path_factory.mktemp("malformed") / "run"
    interrupted(config, path, 15)
    return config, path


def places(value, depth: int, path: tuple = ()) -> list[tuple]:
    """The path of each node of nested dictionaries and lists."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    nodes = [] if not path else [path]
    return nodes + [node for key, child in children if depth for node in places(child, depth - 1, (*path, key))]


def malformed(checkpoint: dict, path: tuple, wrong) -> dict:
    checkpoint = deepcopy(checkpoint)
    *parents, last = path
    parent = checkpoint
    for key in parents:
        parent = parent[key]
    if wrong is DELETED:
        del parent[last]
    else:
        parent[last] = wrong
    return checkpoint


def cases(checkpoint: dict) -> list[tuple]:
    return [(path, wrong) for path in places(checkpoint, DEPTH) for wrong in WRONG]


def check(case: tuple, saved, folder: Path, index: int) -> str:
    """Resume from a malformed checkpoint; return what is wrong with the outcome, "" if nothing is."""
    config, path = saved
    place, wrong = case
    name = f"{'/'.join(map(str, place))} = {'deleted' if wrong is DELETED else repr(wrong)}"
    # Outside the directory, so that the tables of the run are not needed.
    file = folder / f"{index}" / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    torch.save(malformed(torch.load(path / "checkpoints" / "last.ckpt", weights_only=True), place, wrong), file)
    try:
        summary = train(Job({**config, "ckpt_path": str(file)}, folder / f"{index}" / "resumed"))
    except ValueError as error:
        message = error_message(error)
        return "" if str(file) in message or "ckpt_path" in message else f"{name}: does not name ckpt_path: {message}"
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    right = summary["status"] == "completed" and summary["steps"] == 22
    return "" if right or any(word in name for word in FREE) else f"{name}: resumed to {summary}"


def test_a_malformed_checkpoint_is_refused_or_resumes(saved, tmp_path):
    everything = cases(torch.load(saved[1] / "checkpoints" / "last.ckpt", weights_only=True))
    chosen = random.Random(9).sample(everything, 25)
    assert not [wrong for index, case in enumerate(chosen) if (wrong := check(case, saved, tmp_path, index))]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_more_malformed_checkpoints_are_refused_or_resume(saved, tmp_path):
    everything = cases(torch.load(saved[1] / "checkpoints" / "last.ckpt", weights_only=True))
    chosen = random.Random(10).sample(everything, 150)
    assert not [wrong for index, case in enumerate(chosen) if (wrong := check(case, saved, tmp_path, index))]


def test_every_node_of_the_structure_is_checked_without_another_error(saved):
    """The quick part of all cases: the check of the structure raises ValueError, or nothing."""
    from start_training.runs.checkpoint_structure import check_structure

    checkpoint = load_checkpoint(saved[1] / "checkpoints" / "last.ckpt")
    refused = 0
    for place, wrong in cases(checkpoint):
        try:
            check_structure(malformed(checkpoint, place, wrong))
        except ValueError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("optimizer_states", 0, "state"), {}),
        (("optimizer_states",), []),
        (("random_states",), DELETED),
        (("state_dict", "net.0.weight"), "text"),
        (("callbacks", "StartOfTraining"), []),
        (("loops",), None),
        (("global_step",), "text"),
        (("lr_schedulers",), [[]]),
    ],
    ids=["no optimizer states", "no optimizers", "no random states", "text as weight", "list as callback state",
         "no loops", "text as step", "list as schedule"],
)  # fmt: skip
def test_a_missing_or_wrong_part_is_refused_before_training(saved, tmp_path, place, wrong):
    checkpoint = torch.load(saved[1] / "checkpoints" / "last.ckpt", weights_only=True)
    file = tmp_path / "old" / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    if place[0] == "state_dict":
        place = ("state_dict", next(iter(checkpoint["state_dict"])))
    if place[0] == "callbacks":
        place = ("callbacks", next(name for name in checkpoint["callbacks"] if "Start" in name))
    torch.save(malformed(checkpoint, place, wrong), file)
    with pytest.raises(ValueError, match=f"^ckpt_path = {file}: "):
        train(Job({**saved[0], "ckpt_path": str(file)}, tmp_path / "resumed"))
    assert RunDirectory(tmp_path / "resumed").state in ("absent", "failed")


def test_a_sweep_falls_back_from_a_malformed_checkpoint_and_evaluate_names_it(saved, tmp_path, capsys):
    import shutil

    run = RunDirectory(shutil.copytree(saved[1], tmp_path / "run"))
    whole = torch.load(run.checkpoint, weights_only=True)
    torch.save(malformed(whole, ("loops", "fit_loop"), []), run.checkpoint)
    assert load_newest(run)[0] == run.previous_checkpoint
    assert "last.ckpt: the checkpoint is malformed (loops: fit_loop is missing" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"^checkpoint = .*last\.ckpt: the checkpoint is malformed"):
        evaluate(run.path)
    assert train(Job(saved[0], run.path, sweep="a-sweep"))["status"] == "completed"
    assert (run.path / "last.ckpt.damaged").exists()
