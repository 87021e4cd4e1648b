"""Phase with a plain Trainer: its rows equal measurements by hand, and training is unchanged."""

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
    """A module with dropout and a test set."""

    def __init__(self, layers=None, optimizer=SGD) -> None:
        super().__init__(layers or net(), optimizer)

    def test_dataloader(self):
        return DataLoader(samples(tasks.VALIDATION, seed=2), 20)


class Still(Task):
    def training_step(self, batch, batch_idx):
        self.net.eval()
        return super().training_step(batch, batch_idx)


class ByHand(pl.Callback):
    """Measures the phases of a copy of the net after every step."""

    def __init__(self) -> None:
        self.by_step: dict[int, list[dict]] = {}

    def on_train_start(self, trainer, pl_module, *_):
        self.by_step[trainer.global_step] = measure_phases(phased_layers(copy.deepcopy(pl_module.net)), **FAST)

    on_train_batch_end = on_train_start


def run(directory, *callbacks, task=None, **options):
    return fit(task or Task(), directory, *callbacks, **{"max_epochs": EPOCHS, **options})


def rows(directory) -> pd.DataFrame:
    return pd.read_parquet(directory / "phase")


@pytest.mark.parametrize(("period", "accumulate"), [(None, 1), (1, 1), (3, 4)])
def test_rows_equal_measurements_by_hand_and_training_is_unchanged(tmp_path, period, accumulate):
    hand, logger, task, alone = ByHand(), Recording(), Task(), Task()
    phase, tests = Phase(every_n_steps=period, skip=0.25, **FAST), TestMetrics()
    options = {"accumulate_grad_batches": accumulate}
    run(tmp_path, hand, phase, tests, task=task, logger=logger, **options)
    per_epoch = math.ceil(BATCHES / accumulate)
    ends = [per_epoch * epoch for epoch in range(EPOCHS + 1)]
    expected = sorted({*ends, *range(0, ends[-1] + 1, period or ends[-1])})
    table_rows = rows(tmp_path)
    assert table_rows["step"].tolist() == np.repeat(expected, 2).tolist()
    assert (table_rows["name"].tolist(), table_rows["layer"].tolist()) == (
        ["0", "3"] * len(expected),
        [0, 1] * len(expected),
    )
    assert table_rows[table_rows["step"].isin(ends)]["epoch"].tolist() == np.repeat(np.arange(EPOCHS + 1.0), 2).tolist()
    if accumulate == 1:
        assert table_rows["epoch"].tolist() == pytest.approx((table_rows["step"] / BATCHES).tolist())
    by_hand = pd.DataFrame([row for step in expected for row in hand.by_step[step]])
    pd.testing.assert_frame_equal(table_rows[by_hand.columns], by_hand, check_exact=True)
    assert table_rows.loc[table_rows["layer"] == 0, KEYS].notna().all(axis=None)
    assert table_rows.loc[table_rows["layer"] == 1, ["jacobian", "lyapunov"]].isna().all(axis=None)  # 8 inputs, 9 units
    assert table_rows["scaling"].to_numpy() == pytest.approx(0.1 / (0.1 * BATCH * accumulate))
    for layer, layer_rows in table_rows.groupby("layer"):
        curve = layer_rows.to_dict("records")
        slopes = [running_slope(curve[: last + 1], skip=0.25) for last in range(len(curve))]
        np.testing.assert_array_equal(layer_rows[["slope", "slope_error"]], slopes)
        if layer == 0:  # the first square layer
            summary = {**summary_of(curve, skip=0.25, lowest=tests.lowest), "skip": 0.25, **FAST}
            assert phase.summary() == {"phase": summary} and summary["slope"] is not None
    logged = {step: row for step, row in logger.rows.items() if any(name.startswith("phase/") for name in row)}
    assert sorted(logged) == expected
    for step in (0, ends[-1]):
        assert {name: value for name, value in logged[step].items() if name.startswith("phase/")} == {
            f"phase/{row['name']}/{key}": row[key] for row in table_rows[table_rows["step"] == step].to_dict("records")
            for key in (*KEYS, "slope", "slope_error", "scaling") if math.isfinite(row[key])
        }  # fmt: skip
    run(tmp_path / "alone", task=alone, **options)
    assert torch.equal(weights(alone), weights(task))


def test_a_callback_that_draws_random_numbers_changes_the_weights(tmp_path):
    alone, watched = Task(), Task()
    run(tmp_path, task=alone)
    run(tmp_path, At(BATCHES, lambda _: torch.randn(6)), task=watched)
    assert not torch.equal(weights(alone), weights(watched))


@pytest.mark.parametrize(("period", "step", "elsewhere"), [(None, 6, False), (3, 8, False), (3, 9, True)])
@pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before the epoch ended")
def test_a_resumed_run_has_the_rows_of_an_uninterrupted_run(tmp_path, period, step, elsewhere):
    whole, tests = Phase(every_n_steps=period, **FAST), TestMetrics()
    save = At(step, lambda trainer: trainer.save_checkpoint(tmp_path / "a.ckpt"))
    run(tmp_path, whole, tests, save, task=Still())
    expected = rows(tmp_path)
    resumed, again = Phase(every_n_steps=period, **FAST), TestMetrics()
    directory = tmp_path / "elsewhere" if elsewhere else tmp_path
    run(directory, resumed, again, task=Still(), ckpt_path=tmp_path / "a.ckpt")
    table_rows = rows(directory)
    if elsewhere:  # the new directory has no rows of earlier steps
        assert table_rows["step"].min() >= step
        expected, table_rows = (table[table["step"] > step].reset_index(drop=True) for table in (expected, table_rows))
        expected, table_rows = (table.drop(columns=["slope", "slope_error"]) for table in (expected, table_rows))
    else:
        assert again.summary() == tests.summary()
        assert resumed.summary() == whole.summary()
    pd.testing.assert_frame_equal(table_rows, expected, check_exact=True)


def test_the_row_of_a_checkpoint_with_other_settings_is_measured_again(tmp_path):
    run(tmp_path, Phase(**FAST), At(12, lambda trainer: trainer.save_checkpoint(tmp_path / "a.ckpt")), task=Still())
    before = rows(tmp_path)
    run(tmp_path, Phase(iterations=30, starts=2), task=Still(), ckpt_path=tmp_path / "a.ckpt")
    after = rows(tmp_path)
    assert after["step"].tolist() == before["step"].tolist()
    same = (after["lyapunov"] == before["lyapunov"]) | after["lyapunov"].isna()
    assert same.tolist() == (before["step"].lt(12) | before["layer"].eq(1)).tolist()


def test_a_run_that_ends_within_an_epoch_has_a_last_row_and_a_failed_run_keeps_its_rows(tmp_path):
    run(tmp_path / "short", Phase(**FAST), max_epochs=-1, max_steps=15)
    assert rows(tmp_path / "short")["step"].unique().tolist() == [0, 6, 12, 15]
    assert rows(tmp_path / "short")["epoch"].iloc[-1] == pytest.approx(2.5)
    with pytest.raises(KeyError):
        run(tmp_path, Phase(every_n_steps=4, **FAST), At(8, {}.__getitem__))
    assert rows(tmp_path)["step"].unique().tolist() == [0, 4, 6, 8]


@pytest.mark.filterwarnings("ignore:.*has no length")
def test_two_phase_callbacks_do_not_read_the_summary_of_each_other(tmp_path):
    class Other(Phase):
        pass

    one, other = Phase(**FAST), Other(**FAST, directory=tmp_path / "other")
    fit(Task(), tmp_path, one, other, max_epochs=1)
    assert one.summary() == other.summary() != {}


def test_every_n_steps_needs_training_data_of_known_length(tmp_path):
    task = Task()
    task.train_dataloader = lambda: iter([])
    with pytest.raises(ValueError, match=r"^every_n_steps = 2: needs training data of known length"):
        run(tmp_path, Phase(every_n_steps=2), task=task)


def test_without_a_square_layer_the_summary_is_that_of_the_first_layer(tmp_path):
    phase = Phase(activation="relu", **FAST)
    adam = torch.optim.AdamW  # the scaling variable is not defined for it
    run(tmp_path, phase, task=Task(nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 3)), adam))
    summary = phase.summary()["phase"]
    assert (summary["layer"], summary["fan_in"], summary["fan_out"], summary["edge_at_1"]) == ("0", 8, 9, False)
    assert math.isnan(summary["lyapunov"]) and summary["scaling"] is None
    assert rows(tmp_path)[["slope", "scaling"]].isna().all(axis=None)  # ReLU's edge is not at J = 1
