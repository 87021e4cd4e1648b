"""Checkpoints are loaded or rejected with a reason, and must match the net, the optimizer and the schedule."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from start_training.models.classifier import Classifier
from start_training.runs.checkpoint import (
    PARTS,
    check_optimizer_fits,
    check_schedule_fits,
    interrupted_epoch,
    load_checkpoint,
)
from start_training.schedules.one_cycle import OneCycle
from start_training.training.checkpoint_fits import check_fits


def net(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def scheduled(*, make=SGD, cycle=None, **settings):
    """Return an optimizer and its schedule after one step, so that the schedule has changed the learning rate."""
    optimizer = make(net().parameters(), **{"lr": 0.1, **settings})
    if cycle is None:
        return optimizer, None
    schedule = OneCycle(optimizer, **{"total_steps": 10, **cycle})
    optimizer.step(), schedule.step()
    return optimizer, schedule


def test_a_checkpoint_is_loaded_as_saved_and_a_damaged_or_foreign_file_is_rejected(tmp_path, trained):
    saved = torch.load(trained() / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save(saved, tmp_path / "whole.ckpt")
    loaded = load_checkpoint(tmp_path / "whole.ckpt")
    assert loaded.keys() == saved.keys() and loaded["global_step"] == 33
    assert all(torch.equal(value, saved["state_dict"][name]) for name, value in loaded["state_dict"].items())
    (tmp_path / "half.ckpt").write_bytes((tmp_path / "whole.ckpt").read_bytes()[:500])
    torch.save(dict.fromkeys(PARTS - {"loops"}, 0), tmp_path / "foreign.ckpt")
    torch.save([1], tmp_path / "list.ckpt")
    for name, message in (("no", "no such file"), ("half", "not a checkpoint, or a damaged one"),
                          ("foreign", "not a checkpoint of a run, which would hold callbacks, global_step, loops"),
                          ("list", "not a checkpoint of a run")):  # fmt: skip
        with pytest.raises(ValueError, match=rf"^from = .*{name}\.ckpt: {message}"):
            load_checkpoint(tmp_path / f"{name}.ckpt", "from")


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (net(), None),
        (net(5), r"\(0\.weight: 4×3 in the checkpoint, 5×3 in this config\)"),
        (nn.BatchNorm1d(4), r"\(weight: absent in the checkpoint, 4 in"),
        (net()[:2], r"\(2\.weight: 2×4 in the checkpoint, absent in"),
    ],
)
def test_a_checkpoint_fits_only_nets_of_the_same_architecture(built, message):
    saved = {"state_dict": Classifier(net(), SGD, classes=2).state_dict(), "epoch_losses": []}
    with pytest.raises(ValueError, match=f"^ckpt_path = a.ckpt: .*{message}") if message else nullcontext():
        check_fits(saved, built, "a.ckpt")


@pytest.mark.parametrize(
    ("built", "saved", "message"),
    [
        ({}, {}, None),
        ({"cycle": {}}, {"cycle": {}}, None),  # rate and momentum, which the schedule changes
        ({"cycle": {}, "momentum": 0.9}, {"cycle": {}, "momentum": 0.8}, None),
        ({"cycle": {}, "make": AdamW}, {"cycle": {}, "make": AdamW}, None),
        ({"lr": 0.2}, {}, r"optimizer.lr = 0.2: must be that of the resumed run in ckpt_path, 0.1"),
        ({"make": AdamW}, {}, "ckpt_path = a.ckpt: the checkpoint is of another optimizer than AdamW"),
        ({"cycle": {"momentum": None}, "momentum": 0.9}, {"cycle": {"momentum": None}}, "optimizer.momentum = 0.9: "),
        ({"cycle": {}, "make": AdamW, "betas": (0.8, 0.9)}, {"cycle": {}, "make": AdamW}, r"optimizer.betas = \[0.9\]"),
        (
            {"cycle": {"cycle": 0.5}},
            {"cycle": {}},
            "schedule.cycle = 0.5: must be that of the resumed run in ckpt_path, 0.9",
        ),
        ({"cycle": {}}, {}, "schedule = OneCycle: must be that of the resumed run, constant"),
        ({"cycle": {"total_steps": 20}}, {"cycle": {}}, None),  # the length of the run may differ
    ],
)
def test_a_checkpoint_fits_only_optimizers_and_schedules_with_the_same_settings(built, saved, message):
    old, old_schedule = scheduled(**saved)
    checkpoint = {"optimizer_states": [old.state_dict()], "global_step": 0}
    if old_schedule:
        checkpoint["lr_schedulers"] = [old_schedule.state_dict()]
    with pytest.raises(ValueError, match=f"^{message}") if message else nullcontext():
        check_optimizer_fits(checkpoint, *scheduled(**built), "a.ckpt")


def test_a_schedule_of_another_class_is_rejected_even_with_equal_setting_names():
    _, schedule = scheduled(cycle={})
    saved = schedule.state_dict()
    check_schedule_fits({"lr_schedulers": [saved]}, schedule)
    with pytest.raises(ValueError, match=r"^schedule = OneCycle: must be that of the resumed run, Triangular"):
        check_schedule_fits({"lr_schedulers": [saved | {"schedule": "Triangular"}]}, schedule)


@pytest.mark.parametrize(("last", "loader"), [(True, [{"batches": 3}]), (False, [{"batches": 3}]), (False, [])])
def test_a_checkpoint_within_an_epoch_holds_the_state_of_the_loader(last, loader):
    loops = {"state_dict": {"combined_loader": loader}, "epoch_loop.batch_progress": {"is_last_batch": last}}
    assert interrupted_epoch({"loops": {"fit_loop": loops}}) == (None if last or not loader else {"batches": 3})
