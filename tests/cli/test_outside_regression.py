"""A regression from a user's directory, which holds YAML and data; nothing of this project is changed."""

import json

import pytest

DATA = """
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class Lines(pl.LightningDataModule):
    def __init__(self, slope=1.0, batch_size=8):
        super().__init__()
        self.slope, self.batch_size = slope, batch_size

    def setup(self, stage):
        x = torch.linspace(-1, 1, 64)
        self.samples = TensorDataset(x.unsqueeze(1), self.slope * x)

    def train_dataloader(self):
        return DataLoader(self.samples, self.batch_size)

    def val_dataloader(self):
        return DataLoader(self.samples, 64)

    test_dataloader = val_dataloader
"""
FILES = {
    "line_data.py": DATA,
    "my_conf/datamodule/lines.yaml": "_target_: line_data.Lines\nslope: 2.0\nbatch_size: 16\n",
    "my_conf/task/huber.yaml": "defaults: [regression]\nloss:\n  _target_: torch.nn.HuberLoss\n  delta: 0.5\n",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_regression_by_yaml_alone_from_an_outside_directory(shell, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    words = (
        *(f"hydra.searchpath=[file://{tmp_path}/my_conf]", "task=huber", "datamodule=lines", "optimizer.lr=0.1"),
        *("model.depth=1", "model.width=16", "initializer=he_normal,lecun_normal", "trainer.max_epochs=20"),
        *("logger=csv", "trainer.enable_progress_bar=false", "hydra.sweep.dir=sweep"),
    )
    status, lines, errors = shell("train", "-m", *words)
    assert status == 0, errors
    assert sum("completed, test R² " in line for line in lines) == 2
    runs = [json.loads(file.read_text()) for file in (tmp_path / "sweep").glob("*/summary.json")]
    assert len(runs) == 2 and all(run["metrics"]["test/r2"] > 0.8 and run["objective"] < 0.1 for run in runs)
    assert "2 already finished" in " ".join(shell("train", "-m", *words)[1])
