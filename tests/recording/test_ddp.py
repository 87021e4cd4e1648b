"""ActivationLengths in two processes, against one process with the same global batches."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import forked

SCRIPT = """
import sys
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from start_training.callbacks.activation_lengths import ActivationLengths

class Task(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.unused = nn.LSTM(8, 6), nn.Linear(4, 4)
        self.head = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 2)])

    def training_step(self, batch, batch_idx):
        hidden = F.relu(self.head[0](self.lstm(batch)[0]))
        return self.head[1](hidden).square().mean()

    def train_dataloader(self):
        generator = torch.Generator().manual_seed(0)
        batches = [torch.randn(5, 16, 8, generator=generator) for _ in range(3)]
        shares = [batch.chunk(self.trainer.world_size, dim=1)[self.global_rank] for batch in batches]
        return DataLoader(shares, batch_size=None)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

devices, directory = int(sys.argv[1]), sys.argv[2]
strategy = "auto" if devices == 1 else sys.argv[3]
trainer = pl.Trainer(
    max_epochs=1, accelerator="cpu", devices=devices, strategy=strategy, logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    callbacks=[ActivationLengths(directory)],
)
trainer.fit(Task())
"""


@pytest.mark.slow
def test_two_processes_record_the_layers_and_lengths_of_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def run(devices: int, directory: Path) -> tuple[pd.DataFrame, str]:
        arguments = [str(devices), str(directory), "ddp_find_unused_parameters_true"]
        result = forked.run(script, *arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert result.returncode == 0, result.stderr
        return pd.read_parquet(directory / "lengths"), result.stdout

    (one, _), (two, output) = run(1, tmp_path / "one"), run(2, tmp_path / "two")
    columns = ["step", "layer", "name", "count"]
    pd.testing.assert_frame_equal(one[columns], two[columns])
    assert one["name"].unique().tolist() == ["input", "lstm", "F.relu"] and set(one["count"]) == {16}
    np.testing.assert_allclose(two[["mean", "variance"]], one[["mean", "variance"]], rtol=1e-4)
    assert output.count("ActivationLengths: 1 recurrent module, 1 activation; 2 of 4 weighted modules") == 1
