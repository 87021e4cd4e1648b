"""The callback in anyone's own Trainer: its rows are what one measures by hand, and training does not notice it."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from src.callbacks.moment import sgd_scaling
from src.callbacks.phase import Phase
from src.callbacks.phase_summary import running_slope, summary_of
from src.callbacks.test_metrics import TestMetrics
from src.order_chaos.layer_phases import measure_phases, phased_layers
from tests.callbacks.tasks import (
    BATCH,
    BATCHES,
    SGD,
    VALIDATION,
    At,
    Plain,
    Recording,
    Resumable,
    fit,
    samples,
    small,
    weights,
)  # fmt: skip

EPOCHS = 5
FAST = {"iterations": 20, "starts": 2}
KEYS = ["J0", "J", "J2", "jacobian", "lyapunov"]
pytestmark = small


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 9), nn.Tanh())
    with torch.no_grad():
        layers[0].weight.mul_(0.5)
    return layers.append(nn.Linear(9, 3))


class Task(Resumable):
    """With dropout, and a test set."""

    def __init__(self, of=None, optimizer=SGD) -> None:
        super().__init__(of or net(), optimizer)

    def test_dataloader(self):
        return DataLoader(samples(VALIDATION, seed=2), 20)


class Still(Task):
    def training_step(self, batch, batch_idx):
        self.net.eval()
        return super().training_step(batch, batch_idx)


class ByHand(pl.Callback):
    """What a copy of the net measures after every step."""

    def __init__(self) -> None:
        self.by_step: dict[int, list[dict]] = {}

    def on_train_start(self, trainer, pl_module, *_):
        self.by_step[trainer.global_step] = measure_phases(phased_layers(copy.deepcopy(pl_module.net)), **FAST)

    on_train_batch_end = on_train_start


def run(directory, *callbacks, task=None, **options):
    return fit(task or Task(), directory, *callbacks, **{"max_epochs": EPOCHS, **options})


def rows(directory) -> pd.DataFrame:
    return pd.read_parquet(directory / "phase")


@pytest.mark.parametrize(("every", "accumulate"), [(None, 1), (1, 1), (3, 4)])
def test_rows_are_what_one_measures_by_hand_and_training_does_not_notice(tmp_path, every, accumulate):
    hand, logger, task, alone = ByHand(), Recording(), Task(), Task()
    phase, tests = Phase(every_n_steps=every, skip=0.25, **FAST), TestMetrics()
    options = {"accumulate_grad_batches": accumulate}
    run(tmp_path, hand, phase, tests, task=task, logger=logger, **options)
    per_epoch = math.ceil(BATCHES / accumulate)
    ends = [per_epoch * epoch for epoch in range(EPOCHS + 1)]
    expected = sorted({*ends, *range(0, ends[-1] + 1, every or ends[-1])})
    found = rows(tmp_path)
    assert found["step"].tolist() == np.repeat(expected, 2).tolist()
    assert (found["name"].tolist(), found["layer"].tolist()) == (["0", "3"] * len(expected), [0, 1] * len(expected))
    assert found[found["step"].isin(ends)]["epoch"].tolist() == np.repeat(np.arange(EPOCHS + 1.0), 2).tolist()
    if accumulate == 1:
        assert found["epoch"].tolist() == pytest.approx((found["step"] / BATCHES).tolist())
    by_hand = pd.DataFrame([row for step in expected for row in hand.by_step[step]])
    pd.testing.assert_frame_equal(found[by_hand.columns], by_hand, check_exact=True)
    assert found.loc[found["layer"] == 0, KEYS].notna().all(axis=None)
    assert found.loc[found["layer"] == 1, ["jacobian", "lyapunov"]].isna().all(axis=None)  # 8 inputs, 9 units
    assert found["scaling"].to_numpy() == pytest.approx(0.1 / (0.1 * BATCH * accumulate))
    for layer, of_layer in found.groupby("layer"):
        curve = of_layer.to_dict("records")
        slopes = [running_slope(curve[: last + 1], skip=0.25) for last in range(len(curve))]
        np.testing.assert_array_equal(of_layer[["slope", "slope_error"]], slopes)
        if layer == 0:  # the first square one
            said = {**summary_of(curve, skip=0.25, lowest=tests.lowest), "skip": 0.25, **FAST}
            assert phase.summary() == {"phase": said} and said["slope"] is not None
    sent = {step: row for step, row in logger.rows.items() if any(name.startswith("phase/") for name in row)}
    assert sorted(sent) == expected
    for step in (0, ends[-1]):
        assert {name: value for name, value in sent[step].items() if name.startswith("phase/")} == {
            f"phase/{row['name']}/{key}": row[key] for row in found[found["step"] == step].to_dict("records")
            for key in (*KEYS, "slope", "slope_error", "scaling") if math.isfinite(row[key])
        }  # fmt: skip
    run(tmp_path / "alone", task=alone, **options)
    assert torch.equal(weights(alone), weights(task))


def test_a_callback_that_draws_would_be_noticed(tmp_path):
    alone, watched = Task(), Task()
    run(tmp_path, task=alone)
    run(tmp_path, At(BATCHES, lambda _: torch.randn(6)), task=watched)
    assert not torch.equal(weights(alone), weights(watched))


class Driven(pl.Callback):
    """Another Phase, told of the same run by its methods alone."""

    def __init__(self, phase, tests, directory, logger) -> None:
        self.phase, self.directory, self.logger = phase, directory, logger
        self.phase.tests = tests
        self.before = 0

    def measure(self, trainer):
        measured = measure_phases(self.phase.layers, iterations=self.phase.iterations, starts=self.phase.starts)
        scaling = sgd_scaling(trainer.optimizers[0].param_groups[0], BATCH)
        step = trainer.global_step
        self.phase.add(measured, step=step, epoch=step / BATCHES, scaling=scaling, loggers=[self.logger])

    def on_train_start(self, trainer, pl_module):
        self.before = trainer.global_step
        if self.phase.start(pl_module.net, self.directory, step=trainer.global_step):
            self.measure(trainer)

    def on_train_batch_end(self, trainer, *_):
        if self.phase.is_due(self.before, trainer.global_step):
            self.measure(trainer)
        self.before = trainer.global_step

    def on_train_epoch_end(self, trainer, pl_module):
        if self.phase.lacks(trainer.global_step):
            self.measure(trainer)
        self.phase.flush()

    def on_train_end(self, trainer, pl_module):
        self.phase.finish()


@pytest.mark.parametrize("every", [None, 4])
def test_driven_without_a_trainer_it_leaves_the_same(tmp_path, every):
    def both(epochs, state=None, path=None):
        loggers, tests = [Recording(), Recording()], TestMetrics()
        phases = [Phase(every_n_steps=every, **FAST) for _ in range(2)]
        driven = Driven(phases[1], tests, tmp_path / "driven", loggers[1])
        phases[1].load_state_dict(state or {})
        options = {"logger": loggers[0], "max_epochs": epochs, "ckpt_path": path, "task": Still()}
        trainer = run(tmp_path / "hooked", driven, phases[0], tests, **options)
        pd.testing.assert_frame_equal(rows(tmp_path / "hooked"), rows(tmp_path / "driven"), check_exact=True)
        assert len(list((tmp_path / "driven" / "phase").iterdir())) == 1
        assert phases[0].summary() == phases[1].summary()
        for step, row in loggers[1].rows.items():
            assert row == {name: value for name, value in loggers[0].rows[step].items() if name.startswith("phase/")}
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        assert str(phases[0].state_dict()) == str(phases[1].state_dict())
        return phases[1].state_dict()

    both(epochs=EPOCHS, state=both(epochs=3), path=tmp_path / "last.ckpt")
    assert rows(tmp_path / "driven")["step"].is_monotonic_increasing
    assert not rows(tmp_path / "driven").duplicated(["step", "layer"]).any()


def test_where_another_process_writes_there_is_nothing_to_measure(tmp_path):
    phase = Phase(every_n_steps=1, **FAST)
    assert not phase.start(net(), None, step=0)
    assert not phase.is_due(0, 1) and not phase.lacks(1)
    phase.finish()
    assert phase.summary() == {} and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("every", "step", "elsewhere"), [(None, 6, False), (3, 8, False), (3, 9, True), (None, 12, True), (3, 18, False)]
)
@pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before the epoch ended")
def test_resumed_it_has_the_rows_of_a_run_that_was_not_interrupted(tmp_path, every, step, elsewhere):
    whole, tests = Phase(every_n_steps=every, **FAST), TestMetrics()
    save = At(step, lambda trainer: trainer.save_checkpoint(tmp_path / "a.ckpt"))
    run(tmp_path, whole, tests, save, task=Still())
    expected = rows(tmp_path)
    resumed, again = Phase(every_n_steps=every, **FAST), TestMetrics()
    directory = tmp_path / "elsewhere" if elsewhere else tmp_path
    run(directory, resumed, again, task=Still(), ckpt_path=tmp_path / "a.ckpt")
    found = rows(directory)
    if elsewhere:  # there are no rows of the steps before
        assert found["step"].min() >= step
        expected, found = (table[table["step"] > step].reset_index(drop=True) for table in (expected, found))
        expected, found = (table.drop(columns=["slope", "slope_error"]) for table in (expected, found))
    else:
        assert again.summary() == tests.summary()
        assert resumed.summary() == whole.summary()
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_measured_with_other_settings_the_row_of_the_checkpoint_is_measured_anew(tmp_path):
    run(tmp_path, Phase(**FAST), At(12, lambda trainer: trainer.save_checkpoint(tmp_path / "a.ckpt")), task=Still())
    before = rows(tmp_path)
    run(tmp_path, Phase(iterations=30, starts=2), task=Still(), ckpt_path=tmp_path / "a.ckpt")
    after = rows(tmp_path)
    assert after["step"].tolist() == before["step"].tolist()
    same = (after["lyapunov"] == before["lyapunov"]) | after["lyapunov"].isna()
    assert same.tolist() == (before["step"].lt(12) | before["layer"].eq(1)).tolist()


def test_a_run_that_ends_in_mid_epoch_has_a_row_of_its_end_and_one_that_fails_those_of_its_steps(tmp_path):
    run(tmp_path / "short", Phase(**FAST), max_epochs=-1, max_steps=15)
    assert rows(tmp_path / "short")["step"].unique().tolist() == [0, 6, 12, 15]
    assert rows(tmp_path / "short")["epoch"].iloc[-1] == pytest.approx(2.5)
    with pytest.raises(KeyError):
        run(tmp_path, Phase(every_n_steps=4, **FAST), At(8, {}.__getitem__))
    assert rows(tmp_path)["step"].unique().tolist() == [0, 4, 6, 8]


def test_rows_of_a_long_epoch_reach_the_disk_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("src.callbacks.phase.FLUSH_EVERY", 4)
    there = []
    look = At(4, lambda _: there.extend(rows(tmp_path)["step"].unique()))
    run(tmp_path, Phase(every_n_steps=1, **FAST), look, max_epochs=1)
    assert there == [0, 1, 2, 3]


def test_a_net_that_is_nothing_but_a_readout_leaves_nothing(tmp_path):
    phase = Phase(**FAST)
    run(tmp_path, phase, task=Task(nn.Linear(8, 3)), max_epochs=1)
    assert phase.summary() == {}
    assert not (tmp_path / "phase").exists()


def test_without_a_square_layer_the_summary_is_of_the_first(tmp_path):
    phase = Phase(activation="relu", **FAST)
    adam = torch.optim.AdamW  # of which the law says nothing
    run(tmp_path, phase, task=Task(nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 3)), adam))
    said = phase.summary()["phase"]
    assert (said["layer"], said["fan_in"], said["fan_out"], said["edge_at_1"]) == ("0", 8, 9, False)
    assert math.isnan(said["lyapunov"]) and said["scaling"] is None
    assert rows(tmp_path)[["slope", "scaling"]].isna().all(axis=None)  # ReLU's edge is not at J = 1


@pytest.mark.parametrize("how", ["bf16-mixed", pytest.param("compiled", marks=pytest.mark.slow)])
def test_bfloat16_and_a_compiled_net_are_measured_alike(tmp_path, how):
    run(tmp_path / "plain", Phase(**FAST), max_epochs=1)
    task = Task()
    if how == "compiled":
        task.net = torch.compile(task.net, backend="eager")
    run(tmp_path / "other", Phase(**FAST), task=task, max_epochs=1, precision="32-true" if how == "compiled" else how)
    plain, other = (rows(tmp_path / name) for name in ("plain", "other"))
    assert other["J"].to_numpy() == pytest.approx(plain["J"].to_numpy(), rel=1e-6 if how == "compiled" else 1e-2)


def test_data_of_unknown_length_are_measured_at_the_end_of_epochs_and_not_in_between(tmp_path):
    class Endless(IterableDataset):
        def __iter__(self):
            yield from samples(BATCHES * BATCH, seed=1)

    class Streaming(Plain):
        def train_dataloader(self):
            return DataLoader(Endless(), BATCH)

    run(tmp_path, Phase(**FAST), task=Streaming(net()), max_epochs=2)
    assert rows(tmp_path)["epoch"].tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"^every_n_steps = 2: needs training data of a known length"):
        run(tmp_path, Phase(every_n_steps=2), task=Streaming(net()), max_epochs=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps = 0: must be a whole number of at least 1"),
        ({"skip": 1.0}, "skip = 1.0: must be a fraction, at least 0 and below 1"),
        ({"iterations": 1}, "iterations = 1: must be a whole number of at least 2"),
        ({"starts": 0}, "starts = 0: must be a whole number of at least 1"),
        ({"activation": "step"}, "activation = 'step': must be one of gelu"),
    ],
)
def test_a_setting_no_run_could_use_is_named(settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Phase(**settings)
