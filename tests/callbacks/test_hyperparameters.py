"""The table of hyper-parameters holds what each optimizer step used, and costs loggers no row too many."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch import nn

from src.callbacks.hyperparameters import COLUMNS, Hyperparameters, hyperparameter_rows, sent, values_of
from src.datamodules.batch_order import BatchOrder
from src.datamodules.loader import TrainingLoader
from src.datamodules.samples import Samples
from src.models.classifier import Classifier
from src.runs.metrics_file import MetricsFile
from src.schedules.one_cycle import OneCycle

SGD = partial(torch.optim.SGD, lr=0.5, momentum=0.9, weight_decay=1e-3)


class Recording(Logger):
    """Keeps the rows it is given."""

    name = version = ""

    def __init__(self):
        super().__init__()
        self.rows = {}

    def log_hyperparams(self, *args, **kwargs):
        """Nothing here has any."""

    def log_metrics(self, metrics, step=None):
        self.rows.setdefault(step, {}).update(metrics)


class Used(pl.Callback):
    """Reads the optimizer itself, when the gradients of each of its steps begin."""

    def __init__(self):
        self.rows = []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        [group] = optimizer.param_groups
        momentum = group.get("momentum", group.get("betas", [np.nan])[0])
        self.rows.append(
            (trainer.global_step, trainer.current_epoch, group["lr"], momentum, float(group["weight_decay"]))
        )


def fit(directory, *, optimizer=SGD, schedule=None, callbacks=(), accumulate=1, loggers=(), epochs=3, ckpt_path=None):
    """Three epochs of five batches on the CPU."""
    generator = torch.Generator().manual_seed(0)
    samples = Samples(torch.randn(20, 4, generator=generator), torch.randint(3, (20,), generator=generator))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=list(loggers) or False,
        callbacks=[Hyperparameters(), *callbacks],
        default_root_dir=str(directory),
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        log_every_n_steps=1,
    )
    classifier = Classifier(nn.Linear(4, 3), optimizer, classes=3, schedule=schedule)
    trainer.fit(classifier, TrainingLoader(samples, BatchOrder(20, 4)), [], ckpt_path=ckpt_path)
    return trainer


def table(directory):
    return pd.read_parquet(directory / "hyperparameters")


@pytest.mark.parametrize(
    "optimizer", [SGD, partial(torch.optim.AdamW, lr=0.1, weight_decay=0.2), partial(torch.optim.Adagrad, lr=0.1)]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_row_per_optimizer_step_of_what_it_uses(tmp_path, optimizer, accumulate):
    used = Used()
    momentum = None if optimizer.func is torch.optim.Adagrad else (0.95, 0.85)
    cycle = partial(OneCycle, momentum=momentum)
    fit(tmp_path, optimizer=optimizer, schedule=cycle, callbacks=[used], accumulate=accumulate)
    steps = 15 if accumulate == 1 else 9  # of five batches the last is left over
    rows = table(tmp_path)
    assert rows["step"].tolist() == list(range(steps))
    assert rows["learning_rate"].max() == optimizer.keywords["lr"]
    expected = pd.DataFrame(used.rows, columns=rows.columns)
    pd.testing.assert_frame_equal(rows, expected, check_exact=True)
    assert rows["momentum"].isna().all() == (momentum is None)


def test_loggers_get_a_row_when_a_value_changes(tmp_path):
    for schedule, expected in ((None, [0]), (OneCycle, list(range(15)))):
        logger = Recording()
        fit(tmp_path, schedule=schedule, loggers=[logger])
        sent = {step: row for step, row in logger.rows.items() if "momentum" in row}
        assert sorted(sent) == expected
        rows = table(tmp_path).set_index("step")
        for step, row in sent.items():
            assert {name: row[name] for name in ("learning_rate", "momentum", "weight_decay")} == {
                name: rows.loc[step, name] for name in ("learning_rate", "momentum", "weight_decay")
            }


def test_what_an_optimizer_does_not_have_is_not_sent(tmp_path):
    logger = Recording()
    fit(tmp_path, optimizer=partial(torch.optim.Adagrad, lr=0.1), loggers=[logger])
    assert "momentum" not in logger.rows[0]
    assert logger.rows[0]["learning_rate"] == 0.1


@pytest.mark.parametrize("optimizer", [SGD, partial(torch.optim.AdamW, lr=0.1), partial(torch.optim.Adagrad, lr=0.1)])
def test_rows_and_what_is_sent_can_be_made_without_a_trainer(tmp_path, optimizer):
    used, logger = Used(), Recording()
    fit(tmp_path, optimizer=optimizer, schedule=partial(OneCycle, momentum=None), callbacks=[used], loggers=[logger])
    groups = [
        {"lr": rate, "weight_decay": decay} | ({} if np.isnan(momentum) else {"momentum": momentum})
        for *_, rate, momentum, decay in used.rows
    ]
    values = [values_of(group) for group in groups]
    moments = [(step, epoch) for step, epoch, *_ in used.rows]
    rows = hyperparameter_rows([(*moment, each) for moment, each in zip(moments, values, strict=True)])
    pd.testing.assert_frame_equal(rows, table(tmp_path), check_exact=True)
    assert {step: sent(each) for (step, _), each in zip(moments, values, strict=True)} == {
        step: {name: value for name, value in row.items() if name in COLUMNS} for step, row in logger.rows.items()
    }


def test_the_metrics_file_has_the_rate_of_each_epochs_last_step(tmp_path):
    fit(tmp_path, schedule=OneCycle, loggers=[MetricsFile(tmp_path)])
    metrics, rows = pd.read_csv(tmp_path / "metrics.csv"), table(tmp_path).set_index("step")
    assert metrics["step"].tolist() == [4, 9, 14]
    assert metrics["learning_rate"].tolist() == rows.loc[[4, 9, 14], "learning_rate"].tolist()
    assert "momentum" not in metrics


def test_rows_are_flushed_with_a_checkpoint_and_replaced_on_resuming(tmp_path):
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 7:
                trainer.save_checkpoint(tmp_path / "seven.ckpt")
                self.there = table(tmp_path)["step"].tolist()

    save = Save()
    fit(tmp_path, schedule=OneCycle, callbacks=[save])
    assert save.there == list(range(7))
    whole = table(tmp_path)
    fit(tmp_path, schedule=OneCycle, ckpt_path=tmp_path / "seven.ckpt")
    pd.testing.assert_frame_equal(table(tmp_path), whole, check_exact=True)


def test_a_run_that_fails_leaves_the_rows_of_its_steps(tmp_path):
    class Fail(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 8:
                raise KeyError

    with pytest.raises(KeyError):
        fit(tmp_path, callbacks=[Fail()])
    assert table(tmp_path)["step"].tolist() == list(range(8))


def test_long_runs_are_flushed_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("src.callbacks.hyperparameters.FLUSH_EVERY", 4)

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 10:
                self.there = table(tmp_path)["step"].tolist()

    look = Look()
    fit(tmp_path, callbacks=[look])
    assert look.there == list(range(8))
    assert table(tmp_path)["step"].tolist() == list(range(15))
    assert len(list((tmp_path / "hyperparameters").glob("*.parquet"))) == 1  # joined in the end
