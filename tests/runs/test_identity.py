"""Configs that mean the same have one hash, and runs of earlier versions are found under their old hash."""

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from start_training.runs.canonical import ADDED, canonical
from start_training.runs.config_hash import config_hash, differing_settings
from start_training.runs.directory import RunDirectory
from start_training.runs.moved_targets import MOVED, current_name, current_targets, first_name
from start_training.runs.run_name import run_name

if TYPE_CHECKING:
    from torch import Tensor

SGD, TRAINER = "torch.optim.SGD", "pytorch_lightning.Trainer"
NET = "start_training.models.fully_connected.FullyConnected"
ADAM, STEP = "torch.optim.AdamW", "torch.optim.lr_scheduler.StepLR"


class Annotated:
    """A custom class whose annotations hold names that are imported only for type checkers."""

    def __init__(self, share: "float | Tensor", count: "int", either: "int | float", plain, rates: "dict[str, float]"):
        pass


class Child(Annotated):
    def __init__(self, *arguments, extra: float = 0, **named):
        super().__init__(*arguments, **named)


CHILD = f"{__name__}.Child"


def one_run(key, one, other, target):
    """Return whether two values of a parameter give the same config hash."""
    return len({config_hash({"group": {"_target_": target, key: value}}) for value in (one, other)}) == 1


@pytest.mark.parametrize(
    "target, key, one, other, same",
    [
        (SGD, "lr", 1, 1.0, True),
        (SGD, "lr", 1, 2.0, False),
        (SGD, "momentum", 0, 0.0, True),
        (SGD, "lr", 1, True, False),
        (SGD, "momentum", False, 0.0, False),
        (SGD, "lr", 1, "1", False),
        (SGD, "nosuch", 1, 1.0, False),
        (SGD, "lr", 2**53 + 1, float(2**53 + 1), False),  # the float is another number
        (ADAM, "betas", [0, 0.999], [0.0, 0.999], True),
        (ADAM, "betas", [0, 0.999], [0.999, 0.0], False),
        (STEP, "step_size", 100, 100.0, True),  # the annotation is a string
        (STEP, "step_size", 100, 100.5, False),
        (NET, "depth", 100, 100.0, True),
        (NET, "dropout", 0, 0.0, True),
        (NET, "widths", [8, 9], [8.0, 9], True),
        (NET, "widths", [8, 9], [9, 8], False),
        ("start_training.models.residual.Residual", "scales", [1, 2], [1.0, 2.0], True),
        ("start_training.datamodules.mnist.Mnist", "validation", 0, 0.0, True),  # its parent's parameter
        (TRAINER, "max_epochs", 5, 5.0, True),
        (TRAINER, "gradient_clip_val", 1, 1.0, True),
        (TRAINER, "limit_train_batches", 1, 1.0, False),
        (TRAINER, "limit_val_batches", 1, 1.0, False),
        (TRAINER, "overfit_batches", 1, 1.0, False),
        (TRAINER, "val_check_interval", 1, 1.0, False),
        (CHILD, "share", 1, 1.0, True),
        (CHILD, "count", 1, 1.0, True),
        (CHILD, "either", 1, 1.0, False),
        (CHILD, "plain", 1, 1.0, False),
        (CHILD, "extra", 1, 1.0, True),
        (CHILD, "rates", {"a": 1}, {"a": 1.0}, True),
        ("nosuch.Class", "lr", 1, 1.0, False),
    ],
)
def test_int_and_float_give_one_hash_if_the_annotation_is_one_of_them(target, key, one, other, same):
    assert one_run(key, one, other, target) == one_run(key, other, one, target) == same


@given(st.integers() | st.floats(allow_nan=False) | st.booleans())
def test_canonical_values_are_equal_to_the_original_and_canonical_is_idempotent(value):
    config = {"optimizer": {"_target_": SGD, "lr": value}, "net": {"_target_": NET, "depth": value}}
    made = canonical(config)
    numbers = [made["optimizer"]["lr"], made["net"]["depth"]]
    assert numbers == [value, value] and canonical(made) == made
    assert [isinstance(number, bool) for number in numbers] == [isinstance(value, bool)] * 2


def test_an_added_key_with_its_neutral_value_does_not_change_the_hash(monkeypatch):
    monkeypatch.setitem(ADDED, SGD, {"lookahead": 1.0})
    monkeypatch.setitem(ADDED, "", {"criterion": None})
    before = {"seed": 0, "optimizer": {"_target_": SGD, "lr": 0.1}}

    def later(criterion, lookahead):
        return {**before, "criterion": criterion, "optimizer": {**before["optimizer"], "lookahead": lookahead}}

    assert config_hash(later(None, 1.0)) == config_hash(before)
    others = (later("mse", 1.0), later(None, 2.0), later(None, True))
    assert len({config_hash(config) for config in (before, *others)}) == 4
    elsewhere = {**before, "model": {"_target_": NET, "lookahead": 1.0}, "x": {"criterion": None}}
    assert config_hash(elsewhere) != config_hash(before)


def test_differing_settings_are_listed_with_both_values():
    one = {"trainer": {"_target_": TRAINER, "max_epochs": 1, "devices": 2}, "optimizer": {"_target_": SGD, "lr": 1}}
    two = {
        "trainer": {"_target_": TRAINER, "max_epochs": 2},
        "optimizer": {"_target_": SGD, "lr": 1.0, "momentum": 0.9},
    }
    assert differing_settings(one, two) == [
        "trainer.max_epochs: existing 1, new 2", "optimizer.momentum: existing not set, new 0.9"
    ]  # fmt: skip
    assert differing_settings(one, one) == []
    [other] = differing_settings({"model": {"_target_": NET}}, {"model": {"_target_": SGD}})
    assert other == f'model._target_: existing "{NET}", new "{SGD}"'


@pytest.fixture
def moved(monkeypatch):
    monkeypatch.setitem(MOVED, "old_home.Sgd", SGD)
    monkeypatch.setitem(MOVED, "torch.optim.Adam", SGD)  # still importable under its former name
    yield
    current_name.cache_clear(), first_name.cache_clear()


@pytest.fixture(autouse=True)
def no_names_are_remembered(monkeypatch):
    current_name.cache_clear(), first_name.cache_clear()
    monkeypatch.setattr("start_training.runs.moved_targets._reported", set())


def test_a_moved_class_is_found_by_its_old_name_with_one_note(moved, capsys):
    old = {"optimizer": {"_target_": "old_home.Sgd", "lr": 1}, "callbacks": [{"_target_": "old_home.Sgd"}, 3]}
    new = current_targets(old)
    assert new == {"optimizer": {"_target_": SGD, "lr": 1}, "callbacks": [{"_target_": SGD}, 3]}
    assert capsys.readouterr().err == f"note: old_home.Sgd has moved to {SGD}; old names still work\n"
    foreign = {"optimizer": {"_target_": "torch.optim.Adam"}}
    ours = {"net": {"_target_": f"src.{NET.partition('.')[2]}"}}  # importable from the root of the repository
    assert current_targets(ours) == {"net": {"_target_": NET}} and "old names still work" in capsys.readouterr().err
    assert current_targets(foreign) == foreign and not capsys.readouterr().err
    assert config_hash(foreign) != config_hash({"optimizer": {"_target_": SGD}})
    assert config_hash({"optimizer": {"_target_": "old_home.Sgd"}}) == config_hash({"optimizer": {"_target_": SGD}})


def test_moving_a_class_changes_no_hash(monkeypatch):
    config = {"optimizer": {"_target_": SGD, "lr": 1}}
    before = config_hash({"optimizer": {"_target_": "old_home.Sgd", "lr": 1.0}})
    assert config_hash(config) != before
    first_name.cache_clear()
    monkeypatch.setitem(MOVED, "old_home.Sgd", SGD)
    assert config_hash(config) == before
    first_name.cache_clear()


def test_all_names_of_a_renamed_class_give_the_same_hash(capsys):
    names = ("src.initializers.phase.Phase", "start_training.initializers.phase.Phase")
    now = "start_training.initializers.phase_point.PhasePoint"
    configs = [{"initializer": {"_target_": name, "J0": 0, "J": 0.5}} for name in (*names, now)]
    assert len({config_hash(config) for config in configs}) == 1
    assert canonical(configs[-1])["initializer"]["_target_"] == names[0]  # the hash uses the oldest name
    assert [current_targets(config) for config in configs] == [configs[-1]] * 3
    notes = [f"note: {name} has moved to {now}; old names still work" for name in names]
    assert capsys.readouterr().err.splitlines() == notes


def write_run(folder, name, config, status=None):
    (folder / name).mkdir(parents=True)
    (folder / name / "config.yaml").write_text(yaml.safe_dump(config))
    if status:
        (folder / name / "summary.json").write_text(json.dumps({"status": status, "steps": 1}))


def test_a_directory_of_an_earlier_version_keeps_its_name_and_a_finished_one_is_preferred(tmp_path, capsys):
    config, spelled = ({"seed": 0, "optimizer": {"_target_": SGD, "lr": lr}} for lr in (1.0, 1))
    name, old, other = config_hash(config), "0123456789ab", "ba9876543210"
    assert run_name(config, tmp_path / "none") == name
    write_run(tmp_path / "one", old, spelled)
    write_run(tmp_path / "one", other, {**config, "seed": 1}, "completed")
    assert run_name(config, tmp_path / "one") == old
    assert not capsys.readouterr().err
    write_run(tmp_path / "two", old, spelled, "interrupted")
    write_run(tmp_path / "two", name, config, "completed")
    write_run(tmp_path / "two", "mine", config, "completed")  # not named by a hash, so not considered
    assert [run_name(config, tmp_path / "two") for _ in range(2)] == [name, name]
    assert (
        capsys.readouterr().err
        == f"note: {tmp_path / 'two'}: directories {old} and {name} hold the same run; {name} is used\n"
    )
    write_run(tmp_path / "both", old, spelled, "completed")
    write_run(tmp_path / "both", name, config, "interrupted")
    assert run_name(config, tmp_path / "both") == old


def test_a_directory_with_another_config_is_rejected_with_the_differing_settings(tmp_path):
    one = {"seed": 0, "trainer": {"_target_": TRAINER, "max_epochs": 1}}
    run = RunDirectory(tmp_path)
    run.begin(one)
    run.checkpoint.parent.mkdir()
    run.checkpoint.touch()
    run.release()
    with pytest.raises(ValueError, match=r"another config \(trainer.max_epochs: existing 1, new 2\); choose"):
        RunDirectory(tmp_path).claim({"seed": 0, "trainer": {"_target_": TRAINER, "max_epochs": 2}})
    many = {"seed": 0, "trainer": {"_target_": TRAINER, "max_epochs": 1}} | {f"k{index}": index for index in range(7)}
    with pytest.raises(ValueError, match=r"k4: existing not set, new 4; 2 more\)"):
        RunDirectory(tmp_path).claim(many)
