"""The callback in anyone's own Trainer: its rows are what one measures by hand, and training does not notice it."""

import copy
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from src.callbacks.moment import sgd_scaling
from src.callbacks.phase import Phase
from src.callbacks.phase_summary import sentence
from src.callbacks.test_metrics import TestMetrics
from src.datamodules.batch_order import BatchOrder
from src.datamodules.loader import TrainingLoader
from src.datamodules.samples import Samples
from src.order_chaos.layer_phases import measure_phases, phased_layers
from src.order_chaos.slope import fit_slope, ordered_window
from tests.callbacks.test_hyperparameters import Recording

BATCHES, BATCH, EPOCHS = 5, 8, 6
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.5)
FAST = {"iterations": 20, "starts": 2}
KEYS = ["J0", "J", "J2", "jacobian", "lyapunov"]
SENT = [*KEYS, "slope", "slope_error", "scaling"]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",  # a test's loader needs none
    "ignore:.*smaller than the logging interval",
)


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 9), nn.Tanh())
    layers.append(nn.Linear(9, 3))
    with torch.no_grad():
        layers[0].weight.mul_(0.5)
    return layers


class Task(pl.LightningModule):
    """Somebody's module, which shuffles and drops out from the global stream."""

    def __init__(self, build=net, optimizer=SGD) -> None:
        super().__init__()
        self.net, self.optimizer = build(), optimizer

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, batch_idx):
        return cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return self.optimizer(self.parameters())

    def train_dataloader(self):
        return DataLoader(samples(BATCHES * BATCH), BATCH, shuffle=True)

    def test_dataloader(self):
        return DataLoader(samples(30, seed=2), 16)


def samples(count: int, seed: int = 1) -> TensorDataset:
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, inputs[:, :3].argmax(1))


class ByHand(pl.Callback):
    """What a copy of the net measures after every step."""

    def __init__(self) -> None:
        self.by_step: dict[int, list[dict]] = {}

    def look(self, trainer, module):
        layers = phased_layers(copy.deepcopy(module.net))
        self.by_step[trainer.global_step] = measure_phases(layers, **FAST)

    def on_train_start(self, trainer, pl_module):
        self.look(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.look(trainer, pl_module)


def fit(directory, *callbacks, task=None, ckpt_path=None, loggers=(), **options):
    options = {"max_epochs": EPOCHS, "accelerator": "cpu", "logger": list(loggers) or False,
               "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
               "default_root_dir": str(directory), **options}  # fmt: skip
    trainer, task = pl.Trainer(callbacks=list(callbacks), **options), task or Task()
    torch.manual_seed(3)
    trainer.fit(task, ckpt_path=ckpt_path)
    return task, trainer


def rows(directory) -> pd.DataFrame:
    return pd.read_parquet(directory / "phase")


@pytest.mark.parametrize("every", [None, 1, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_rows_are_what_one_measures_by_hand(tmp_path, every, accumulate):
    hand = ByHand()
    fit(tmp_path, hand, Phase(every_n_steps=every, **FAST), accumulate_grad_batches=accumulate)
    per_epoch = math.ceil(BATCHES / accumulate)
    ends = [per_epoch * epoch for epoch in range(EPOCHS + 1)]
    expected = sorted({*ends, *range(0, ends[-1] + 1, every or ends[-1])})
    found = rows(tmp_path)
    assert found["step"].tolist() == np.repeat(expected, 2).tolist()
    assert found["name"].tolist() == ["0", "3"] * len(expected)
    assert found["layer"].tolist() == [0, 1] * len(expected)
    assert found[found["step"].isin(ends)]["epoch"].tolist() == np.repeat(np.arange(EPOCHS + 1.0), 2).tolist()
    by_hand = pd.DataFrame([row for step in expected for row in hand.by_step[step]])
    pd.testing.assert_frame_equal(found[by_hand.columns], by_hand, check_exact=True)
    assert found.loc[found["layer"] == 0, KEYS].notna().all(axis=None)
    assert found.loc[found["layer"] == 1, ["jacobian", "lyapunov"]].isna().all(axis=None)  # 6 inputs, 9 units
    assert (found["scaling"] == 0.05 / (0.5 * BATCH * accumulate)).all()


def test_epochs_are_counted_in_batches(tmp_path):
    fit(tmp_path, Phase(every_n_steps=1, **FAST), max_epochs=2)
    assert rows(tmp_path)["epoch"].tolist() == pytest.approx(np.repeat(np.arange(11) / BATCHES, 2).tolist())


def test_the_slope_is_that_of_the_fit_so_far(tmp_path):
    fit(tmp_path, Phase(**FAST, skip=0.25))
    for _, curve in rows(tmp_path).groupby("layer"):
        assert curve["slope"].isna().tolist() == [True] * 3 + [False] * (EPOCHS - 2)
        epochs, J2 = curve["epoch"].to_numpy(), curve["J2"].to_numpy()
        for last in range(3, EPOCHS + 1):
            window = ordered_window(epochs[: last + 1], J2[: last + 1], skip=0.25)
            slope = fit_slope(epochs[: last + 1], J2[: last + 1], window=window)
            assert (curve["slope"].iloc[last], curve["slope_error"].iloc[last]) == (slope.A, slope.error)


def test_the_summary_is_of_the_first_square_layer(tmp_path):
    phase, tests = Phase(**FAST), TestMetrics()
    fit(tmp_path, phase, tests)
    [said], table = phase.summary().values(), rows(tmp_path)
    curve = table[table["layer"] == 0].set_index("step")
    end = curve.iloc[-1]
    assert said["layer"] == "0"
    for name in ("fan_in", "fan_out", *KEYS, "slope", "slope_error", "scaling"):
        assert said[name] == end[name], name
    assert said["constant"] == pytest.approx(end["slope"] / end["scaling"])
    assert (said["slope_start"], said["slope_end"], said["slope_reason"]) == (3, 6, None)
    lowest = tests.summary()["lowest_test_loss"]
    assert (said["lowest_test_loss"], said["lowest_test_loss_epoch"]) == (lowest["loss"], lowest["epoch"])
    assert said["J_at_lowest_test_loss"] == curve["J"][lowest["step"]]
    assert (said["iterations"], said["starts"], said["skip"]) == (20, 2, 0.5)
    words = sentence(said)
    assert words.startswith(f"phase of 0: J0 {end['J0']:.3f}, J {end['J']:.3f} (ordered), Lyapunov -")
    assert "(epochs 3 to 6); lowest test loss" in words
    assert words.endswith(f"at J = {said['J_at_lowest_test_loss']:.3f}")


def test_where_there_is_no_slope_the_summary_says_why(tmp_path):
    phase = Phase(**FAST)
    fit(tmp_path, phase, max_epochs=2)
    said = phase.summary()["phase"]
    assert said["slope"] is said["constant"] is said["slope_start"] is said["lowest_test_loss"] is None
    assert "a slope needs at least 3" in said["slope_reason"]
    assert "no slope of J² (window = 0 to 2 epochs" in sentence(said)


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


@pytest.mark.parametrize("every", [None, 3, 5])
def test_driven_without_a_trainer_it_leaves_the_same(tmp_path, every):
    def both(epochs, state=None, path=None):
        loggers, tests = [Recording(), Recording()], TestMetrics()
        phases = [Phase(every_n_steps=every, **FAST) for _ in range(2)]
        driven = Driven(phases[1], tests, tmp_path / "driven", loggers[1])
        phases[1].load_state_dict(state or {})
        _, trainer = fit(
            tmp_path / "hooked", driven, phases[0], tests, loggers=loggers[:1], max_epochs=epochs, ckpt_path=path,
            task=Ordered(),
        )  # fmt: skip
        pd.testing.assert_frame_equal(rows(tmp_path / "hooked"), rows(tmp_path / "driven"), check_exact=True)
        assert len(list((tmp_path / "driven" / "phase").iterdir())) == 1
        assert phases[0].summary() == phases[1].summary()
        for step, row in loggers[1].rows.items():
            assert row == {name: value for name, value in loggers[0].rows[step].items() if name.startswith("phase/")}
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        assert str(phases[0].state_dict()) == str(phases[1].state_dict())
        return phases[1].state_dict()

    state = both(epochs=4)
    both(epochs=EPOCHS, state=state, path=tmp_path / "last.ckpt")
    assert rows(tmp_path / "driven")["step"].is_monotonic_increasing
    assert not rows(tmp_path / "driven").duplicated(["step", "layer"]).any()


def test_where_another_process_writes_there_is_nothing_to_measure(tmp_path):
    phase = Phase(every_n_steps=1, **FAST)
    assert not phase.start(net(), None, step=0)
    assert not phase.is_due(0, 1) and not phase.lacks(1)
    phase.finish()
    assert phase.summary() == {} and not list(tmp_path.iterdir())


def test_nets_that_are_measured_together_have_the_numbers_of_each_alone():
    torch.manual_seed(0)
    nets = [
        nn.Sequential(nn.Linear(6, 6, bias=bias), nn.Tanh(), nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 9), nn.ReLU(),
                      nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 3)).double()
        for bias in (False, True, False, True, True)
    ]  # fmt: skip
    with torch.no_grad():
        for scale, each in zip((0.5, 1.0, 2.0, 4.0, 8.0), nets, strict=True):  # from order to chaos
            for parameter in each.parameters():
                parameter.mul_(scale)
    layers = [phased_layers(each) for each in nets]
    together = iter(measure_phases([layer for each in layers for layer in each], **FAST))
    for each in layers:
        for alone in measure_phases(each, **FAST):
            assert next(together) == pytest.approx(alone, rel=1e-12, abs=1e-12, nan_ok=True)
    assert next(together, None) is None


class Careless(pl.Callback):
    """Measures as one would without thinking of the run."""

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.net[0].weight @ torch.randn(6)


@pytest.mark.parametrize("callbacks", [[partial(Phase, every_n_steps=2), TestMetrics], [Careless]])
def test_the_run_is_the_same_to_the_bit_as_without_it(tmp_path, callbacks):
    alone, _ = fit(tmp_path)
    watched, _ = fit(tmp_path, *(callback() for callback in callbacks))
    same = all(torch.equal(one, other) for one, other in zip(alone.parameters(), watched.parameters(), strict=True))
    assert same == (Careless not in callbacks)  # the control would be noticed


class SaveAt(pl.Callback):
    """After everyone else, as the last checkpoint of a run is saved."""

    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


class Ordered(Task):
    """With batches that are a function of the epoch, and nothing drawn."""

    def training_step(self, batch, batch_idx):
        return cross_entropy(self.net.eval()(batch[0]), batch[1])

    def train_dataloader(self):
        return TrainingLoader(Samples(*samples(BATCHES * BATCH).tensors), BatchOrder(BATCHES * BATCH, BATCH))


@pytest.mark.parametrize("every", [None, 3])
@pytest.mark.parametrize("step", [7, 9, 10, 15])
@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before the epoch ended")
def test_resumed_it_has_the_rows_of_a_run_that_was_not_interrupted(tmp_path, every, step, elsewhere):
    whole, tests = Phase(every_n_steps=every, **FAST), TestMetrics()
    fit(tmp_path, whole, tests, SaveAt(tmp_path / "a.ckpt", step), task=Ordered())
    expected = rows(tmp_path)
    resumed, again = Phase(every_n_steps=every, **FAST), TestMetrics()
    directory = tmp_path / "elsewhere" if elsewhere else tmp_path
    fit(directory, resumed, again, task=Ordered(), ckpt_path=tmp_path / "a.ckpt")
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
    fit(tmp_path, Phase(**FAST), SaveAt(tmp_path / "a.ckpt", 10), task=Ordered())
    before = rows(tmp_path)
    fit(tmp_path, Phase(iterations=30, starts=2), task=Ordered(), ckpt_path=tmp_path / "a.ckpt")
    after = rows(tmp_path)
    assert after["step"].tolist() == before["step"].tolist()
    same = (after["lyapunov"] == before["lyapunov"]) | after["lyapunov"].isna()
    assert same.tolist() == (before["step"].lt(10) | before["layer"].eq(1)).tolist()


def test_a_run_that_ends_in_mid_epoch_has_a_row_of_its_end(tmp_path):
    fit(tmp_path, Phase(**FAST), max_epochs=-1, max_steps=12)
    assert rows(tmp_path)["step"].unique().tolist() == [0, 5, 10, 12]
    assert rows(tmp_path)["epoch"].iloc[-1] == pytest.approx(2.4)


def test_a_run_that_fails_leaves_the_rows_of_its_steps(tmp_path):
    class Fail(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 8:
                raise KeyError

    with pytest.raises(KeyError):
        fit(tmp_path, Phase(every_n_steps=4, **FAST), Fail())
    assert rows(tmp_path)["step"].unique().tolist() == [0, 4, 5, 8]


def test_loggers_get_what_is_finite_when_it_is_measured(tmp_path):
    logger = Recording()
    fit(tmp_path, Phase(**FAST), loggers=[logger])
    sent = {step: row for step, row in logger.rows.items() if any(name.startswith("phase/") for name in row)}
    assert sorted(sent) == [BATCHES * epoch for epoch in range(EPOCHS + 1)]
    table = rows(tmp_path).set_index(["step", "name"])
    assert sent[0] == {
        f"phase/{name}/{key}": table.loc[(0, name), key] for name in ("0", "3") for key in SENT
        if math.isfinite(table.loc[(0, name), key])
    }  # fmt: skip
    assert sent[30]["phase/0/slope"] == table.loc[(30, "0"), "slope"]


@pytest.mark.parametrize(
    ("optimizer", "scaling"),
    [
        (partial(torch.optim.SGD, lr=0.1), 0.1 / BATCH),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.5), math.nan),
        (partial(torch.optim.AdamW, lr=0.1), math.nan),
    ],
)
def test_the_scaling_variable_is_sgds(tmp_path, optimizer, scaling):
    phase = Phase(**FAST)
    fit(tmp_path, phase, task=Task(optimizer=optimizer))
    assert rows(tmp_path)["scaling"].to_numpy() == pytest.approx(scaling, nan_ok=True)
    said = phase.summary()["phase"]
    assert said["scaling"] == (None if math.isnan(scaling) else scaling)
    assert (said["constant"] is None) == math.isnan(scaling)


def test_a_rate_that_changed_within_the_window_is_no_scaling_variable(tmp_path):
    class Halve(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            trainer.optimizers[0].param_groups[0]["lr"] = 0.05 / (1 + (trainer.current_epoch >= 5))

    phase = Phase(**FAST)
    fit(tmp_path, phase, Halve())
    assert phase.summary()["phase"]["scaling"] is phase.summary()["phase"]["constant"] is None


def test_a_net_that_is_nothing_but_a_readout_leaves_nothing(tmp_path):
    phase = Phase(**FAST)
    fit(tmp_path, phase, task=Task(build=lambda: nn.Linear(6, 3)), max_epochs=1)
    assert phase.summary() == {}
    assert not (tmp_path / "phase").exists()


def test_without_a_square_layer_the_summary_is_of_the_first(tmp_path):
    phase = Phase(activation="relu", **FAST)
    fit(tmp_path, phase, task=Task(build=lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))))
    said = phase.summary()["phase"]
    assert (said["layer"], said["fan_in"], said["fan_out"]) == ("0", 6, 9)
    assert math.isnan(said["lyapunov"])
    assert "Lyapunov" not in sentence(said)


def test_a_compiled_net_and_bfloat16_are_measured_alike(tmp_path):
    fit(tmp_path / "plain", Phase(**FAST), max_epochs=1)
    task = Task()
    task.net = torch.compile(task.net, backend="eager")
    fit(tmp_path / "compiled", Phase(**FAST), task=task, max_epochs=1)
    fit(tmp_path / "half", Phase(**FAST), max_epochs=1, precision="bf16-mixed")
    plain, compiled, half = (rows(tmp_path / name) for name in ("plain", "compiled", "half"))
    pd.testing.assert_frame_equal(plain, compiled)
    assert half["J"].to_numpy() == pytest.approx(plain["J"].to_numpy(), rel=1e-2)


def test_data_of_unknown_length_are_measured_at_the_end_of_epochs_and_not_in_between(tmp_path):
    class Endless(IterableDataset):
        def __iter__(self):
            yield from samples(BATCHES * BATCH)

    class Streaming(Task):
        def train_dataloader(self):
            return DataLoader(Endless(), BATCH)

    fit(tmp_path, Phase(**FAST), task=Streaming(), max_epochs=2)
    assert rows(tmp_path)["epoch"].tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"^every_n_steps = 2: needs training data of a known length"):
        fit(tmp_path, Phase(every_n_steps=2), task=Streaming(), max_epochs=2)


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
