"""Trainer settings are checked against the devices of this machine, and against runs that would never end."""

from contextlib import nullcontext

import pytest
import torch

from start_training.config.devices import check_trainer

WHOLE = "must be a whole number of at least 1"


@pytest.mark.parametrize(
    ("gpus", "settings", "message"),
    [
        (0, {"max_epochs": 3}, None),
        (0, {"max_epochs": -1, "max_steps": 10, "devices": 2, "gradient_clip_val": 0}, None),
        (0, {"max_epochs": 3, "max_steps": -1}, None),
        (0, {"max_epochs": 0}, f"trainer.max_epochs = 0: {WHOLE}"),
        (0, {"max_epochs": 1, "max_steps": -2}, f"trainer.max_steps = -2: {WHOLE}"),
        (0, {"max_epochs": -1}, "trainer.max_epochs = -1: training would never end; set"),
        (0, {"accelerator": "tpu"}, "trainer.accelerator = 'tpu': must be one of auto, cpu, cuda, gpu, mps"),
        (0, {"accelerator": "cuda"}, "trainer.accelerator = 'cuda': this machine has no CUDA GPU; use cpu"),
        (1, {"accelerator": "cpu", "devices": 5}, None),
        *((2, {"accelerator": "gpu", "devices": devices}, None) for devices in ("auto", -1, "-1", 2, [0, 1])),
        (2, {"devices": 3}, "trainer.devices = 3: must be at most 2, the number of GPUs"),
        (1, {"accelerator": "cuda", "devices": 2}, "trainer.devices = 2: must be at most 1, the number of GPUs$"),
        (2, {"devices": [0, 2]}, r"trainer.devices = \[0, 2\]: must be GPU numbers from 0 to 1"),
        (2, {"devices": [-1]}, "trainer.devices = -1: must be a whole number of at least 0"),
    ],
)
def test_an_invalid_trainer_setting_is_named(monkeypatch, gpus, settings, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"^{message}") if message else nullcontext():
        check_trainer(settings)
