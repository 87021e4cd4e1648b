"""Read a checkpoint, and check whether it is of this net, optimizer and schedule."""

import inspect
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from start_training.models.run_length import LENGTHS
from start_training.ranks import is_rank_zero
from start_training.runs.directory import RunDirectory
from start_training.settings import described

PARTS = {"state_dict", "global_step", "loops", "optimizer_states", "random_states"}
_PREFIX = "net."  # the net's place in the Classifier


def load_checkpoint(path: str | Path, setting: str = "ckpt_path") -> dict[str, Any]:
    """The checkpoint at `path`: plain data and tensors, loaded as such.

    Raises ValueError where there is none, or what is there is not a whole checkpoint.
    """
    if not Path(path).is_file():
        raise ValueError(f"{setting} = {path}: there is no such file")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not compare checksums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch passes on whatever it met in a broken file
        raise ValueError(f"{setting} = {path}: is not a whole checkpoint ({described(error)})") from error
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= PARTS:
        raise ValueError(f"{setting} = {path}: is not a checkpoint of a run, which holds {', '.join(sorted(PARTS))}")
    return checkpoint


def load_newest(run: RunDirectory) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint from which a job of a sweep resumes its run: last.ckpt, or if that is damaged previous.ckpt.

    A damaged checkpoint is reported on stderr.

    Returns:
        Its path and content; None if the run ended, failed, or left no checkpoint that can be read, and so begins anew.
    """
    paths = [path for path in (run.checkpoint, run.previous_checkpoint) if run.resumable and path.exists()]
    for number, path in enumerate(paths, 1):
        try:
            return path, load_checkpoint(path)
        except ValueError as error:
            instead = f"resuming from {paths[number].name}" if number < len(paths) else "beginning anew"
            if is_rank_zero():
                print(f"{error}; {instead}", file=sys.stderr)
    return None


def check_fits(checkpoint: Mapping[str, Any], net: nn.Module, path: str | Path) -> None:
    """Raises ValueError, naming the first difference, where the checkpoint is of another architecture."""
    saved, built = _shapes(net_state(checkpoint)), _shapes(net.state_dict())
    for name in dict.fromkeys([*built, *saved]):
        if saved.get(name) != built.get(name):
            raise ValueError(
                f"ckpt_path = {path}: is of another architecture ({name}: {_shown(saved.get(name))} in the checkpoint, "
                f"{_shown(built.get(name))} in this config's net)"
            )


def check_optimizer_fits(
    checkpoint: Mapping[str, Any], optimizer: Optimizer, schedule: LRScheduler | None, path: str | Path
) -> None:
    """Raises ValueError where the checkpoint is of another optimizer or schedule, or of another setting of them.

    Resuming would restore the checkpoint's settings without a word. Those that the schedule moves differ by
    themselves; of the rate it is the initial one that has to be the same.
    """
    check_schedule_fits(checkpoint, schedule)
    saved, built = (state["param_groups"] for state in (checkpoint["optimizer_states"][0], optimizer.state_dict()))
    if [group.keys() - {"initial_lr"} for group in saved] != [group.keys() - {"initial_lr"} for group in built]:
        raise ValueError(f"ckpt_path = {path}: is of another optimizer than {type(optimizer).__name__}")
    for there, here in zip(saved, built, strict=True):
        _check_same("optimizer", _settings(there, schedule), _settings(here, schedule))


def check_schedule_fits(checkpoint: Mapping[str, Any], schedule: LRScheduler | None) -> None:
    """Raises ValueError as `check_optimizer_fits`, of the schedule alone; how long the run is does not show here."""
    saved = next(iter(checkpoint.get("lr_schedulers") or [{}]))
    built = schedule.state_dict() if schedule is not None else {}
    if saved.keys() != built.keys() or saved.get("schedule") != built.get("schedule"):
        name = "constant" if schedule is None else type(schedule).__name__
        other = saved.get("schedule", "another") if saved else "constant"
        raise ValueError(f"schedule = {name}: the run in ckpt_path has {other}, and goes on with it")
    if schedule is not None:
        parameters = inspect.signature(type(schedule)).parameters
        settings = [name for name in parameters if name in saved and name not in ("last_epoch", *LENGTHS)]
        _check_same("schedule", *({name: state[name] for name in settings} for state in (saved, built)))


def _check_same(group: str, saved: Mapping[str, Any], built: Mapping[str, Any]) -> None:
    for name, value in built.items():
        if value != saved[name]:
            raise ValueError(
                f"{group}.{name} = {value!r}: the run in ckpt_path has {saved[name]!r}, and goes on with it"
            )


def interrupted_epoch(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where in an epoch the training loader stood; None where the checkpoint was taken between epochs."""
    loops = checkpoint["loops"]["fit_loop"]
    [loader] = loops["state_dict"].get("combined_loader") or [None]
    return None if loops["epoch_loop.batch_progress"]["is_last_batch"] else loader


def net_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The net's own state_dict out of a Classifier's checkpoint."""
    state = checkpoint["state_dict"]
    return {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _settings(group: Mapping[str, Any], schedule: LRScheduler | None) -> dict[str, Any]:
    """A parameter group's, by the names that they have in a config, less what the schedule moves."""
    settings = {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
    if schedule is None:
        return settings
    settings["lr"] = group["initial_lr"]
    if getattr(schedule, "momentum", None) or getattr(schedule, "cycle_momentum", False):  # ours, or torch's
        settings.pop("momentum", None)
        if "betas" in settings:
            settings["betas"] = list(settings["betas"][1:])
    return settings


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
