"""The table hyperparameters has the settings that each optimizer step used; loggers get rows when a value changes."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from start_training.callbacks.hyperparameters import (
    COLUMNS,
    Hyperparameters,
    hyperparameter_rows,
    hyperparameters_of,
    logged_values,
)
from start_training.models.classifier import Classifier
from start_training.runs.metrics_file import MetricsFile
from start_training.schedules.one_cycle import OneCycle
from tests.callbacks.tasks import At, Recording, Resumable, fit, small

SGD = partial(torch.optim.SGD, lr=0.5, momentum=0.9, weight_decay=1e-3)
STEPS = 18  # three epochs of six batches
pytestmark = small


class Used(pl.Callback):
    """Records the settings of the optimizer before each of its steps."""

    def __init__(self):
        self.rows = []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        [group] = optimizer.param_groups
        momentum = group.get("momentum", group.get("betas", [np.nan])[0])
        step = trainer.global_step, trainer.current_epoch
        self.rows.append((*step, group["lr"], momentum, float(group["weight_decay"])))


def run(directory, *callbacks, optimizer=SGD, schedule=None, **options):
    classifier = Classifier(nn.Linear(8, 3), optimizer, classes=3, schedule=schedule)
    classifier.train_dataloader = Resumable().train_dataloader
    return fit(classifier, directory, Hyperparameters(), *callbacks, limit_val_batches=0, **options)


def table(directory):
    return pd.read_parquet(directory / "hyperparameters")


@pytest.mark.parametrize(
    ("optimizer", "momentum", "accumulate"),
    [
        (SGD, (0.95, 0.85), 4),  # six batches in steps of four and two
        (partial(torch.optim.AdamW, lr=0.1, weight_decay=0.2), (0.95, 0.85), 1),
        (partial(torch.optim.Adagrad, lr=0.1), None, 1),
    ],
)
def test_each_row_has_the_settings_that_its_optimizer_step_uses_also_without_a_trainer(
    tmp_path, optimizer, momentum, accumulate
):
    used, logger = Used(), Recording()
    cycle = partial(OneCycle, momentum=momentum)
    run(tmp_path, used, optimizer=optimizer, schedule=cycle, accumulate_grad_batches=accumulate, logger=logger)
    rows = table(tmp_path)
    assert rows["step"].tolist() == list(range(STEPS if accumulate == 1 else 6))
    assert rows["learning_rate"].max() == optimizer.keywords["lr"]
    pd.testing.assert_frame_equal(rows, pd.DataFrame(used.rows, columns=rows.columns), check_exact=True)
    assert rows["momentum"].isna().all() == (momentum is None)
    groups = [
        {"lr": rate, "weight_decay": decay} | ({} if np.isnan(beta) else {"betas": (beta, 0.9)})
        for *_, rate, beta, decay in used.rows
    ]
    direct = [
        (step, epoch, hyperparameters_of(group)) for (step, epoch, *_), group in zip(used.rows, groups, strict=True)
    ]
    pd.testing.assert_frame_equal(hyperparameter_rows(direct), rows, check_exact=True)
    logged = {step: {name: row[name] for name in COLUMNS if name in row} for step, row in logger.rows.items()}
    assert {step: logged_values(values) for step, _, values in direct} == logged
    assert np.isnan(hyperparameters_of({"lr": 1.0})[1:]).all()


def test_loggers_get_a_row_when_a_value_changes_and_the_metrics_file_one_per_epoch(tmp_path):
    for schedule, expected in ((None, [0]), (OneCycle, list(range(STEPS)))):
        logger = Recording()
        run(tmp_path, schedule=schedule, logger=[logger, MetricsFile(tmp_path)])
        assert sorted(step for step, row in logger.rows.items() if "momentum" in row) == expected
    metrics, rows = pd.read_csv(tmp_path / "metrics.csv"), table(tmp_path).set_index("step")
    assert metrics["step"].tolist() == [5, 11, 17]
    assert metrics["learning_rate"].tolist() == rows.loc[[5, 11, 17], "learning_rate"].tolist()
    assert "momentum" not in metrics


def test_rows_are_flushed_with_a_checkpoint_and_in_errors_and_replaced_on_resuming(tmp_path):
    def save(trainer):
        trainer.save_checkpoint(tmp_path / "seven.ckpt")
        assert table(tmp_path)["step"].tolist() == list(range(7))

    run(tmp_path, At(7, save), schedule=OneCycle)
    whole = table(tmp_path)
    run(tmp_path, schedule=OneCycle, ckpt_path=tmp_path / "seven.ckpt")
    pd.testing.assert_frame_equal(table(tmp_path), whole, check_exact=True)
    with pytest.raises(KeyError):
        run(tmp_path, At(8, {}.__getitem__))
    assert table(tmp_path)["step"].tolist() == list(range(8))
