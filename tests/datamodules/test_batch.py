"""Moving a batch to a device."""

import torch
from pytorch_lightning.utilities import move_data_to_device

from start_training.datamodules.batch import Batch

BATCH = Batch(torch.zeros(3, 2), torch.arange(3), 0.75)


def test_a_batch_moves_to_a_device_as_a_whole():
    moved = BATCH.to(torch.device("meta"))
    assert moved.inputs.device.type == moved.targets.device.type == "meta"
    assert (moved.inputs.shape, moved.targets.shape, moved.weight) == ((3, 2), (3,), 0.75)
    half = Batch(BATCH.inputs.to("meta"), BATCH.targets).to(torch.device("meta"))
    assert half.targets.device.type == "meta"


def test_lightning_moves_a_batch_by_its_method_to():
    assert move_data_to_device(BATCH, torch.device("cpu")) is BATCH
    assert isinstance(move_data_to_device(BATCH, torch.device("meta")), Batch)
