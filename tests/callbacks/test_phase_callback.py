"""The callback in anyone's own Trainer: its rows are what one measures by hand, and training does not notice it."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from start_training.callbacks.phase import Phase
from start_training.callbacks.phase_summary import running_slope, summary_of
from start_training.callbacks.test_metrics import TestMetrics
from start_training.order_chaos.layer_phases import measure_phases, phased_layers
from tests.callbacks import tasks
from tests.callbacks.tasks import BATCH, BATCHES, SGD, At, Recording, Resumable, fit, samples, small, weights

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
        return DataLoader(samples(tasks.VALIDATION, seed=2), 20)


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


@pytest.mark.parametrize(("every", "step", "elsewhere"), [(None, 6, False), (3, 8, False), (3, 9, True)])
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


@pytest.mark.filterwarnings("ignore:.*has no length")
def test_measured_by_steps_data_must_have_a_length(tmp_path):
    task = Task()
    task.train_dataloader = lambda: iter([])
    with pytest.raises(ValueError, match=r"^every_n_steps = 2: needs training data of known length"):
        run(tmp_path, Phase(every_n_steps=2), task=task)


def test_without_a_square_layer_the_summary_is_of_the_first(tmp_path):
    phase = Phase(activation="relu", **FAST)
    adam = torch.optim.AdamW  # of which the law says nothing
    run(tmp_path, phase, task=Task(nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 3)), adam))
    said = phase.summary()["phase"]
    assert (said["layer"], said["fan_in"], said["fan_out"], said["edge_at_1"]) == ("0", 8, 9, False)
    assert math.isnan(said["lyapunov"]) and said["scaling"] is None
    assert rows(tmp_path)[["slope", "scaling"]].isna().all(axis=None)  # ReLU's edge is not at J = 1
