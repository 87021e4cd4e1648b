"""What ActivationLengths adds to a training step on the device, in interleaved rounds, as `benchmark.py callback` does.

Each round trains new twins, one watched, in turns of ten steps; a result is the median of the rounds' median ratios,
and their range. There are six rounds, or as many as time allows. Then what the callback makes the host wait for: ops of
a step that synchronize with the device, by torch's own count, and the peak of memory, each without it and with it.
"""

import gc
import tempfile
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks._interleaved import silent_trainer
from benchmarks._nets import Case, build_twins, dense, resnet
from benchmarks.callback import NEVER, OURS, PERIOD, classifier, measure
from benchmarks.gpu_parts.parts import FINDING, Measurement
from benchmarks.gpu_parts.recorded import Batches
from start_training.callbacks.activation_lengths import ActivationLengths

GOAL = 1.05  # the ratio not to be exceeded
COUNTED = 10  # steps whose synchronizations are counted, after as many that are not


@dataclass(frozen=True)
class Setting:
    """How a net is trained; the words come in the name."""

    case: Case
    precision: str = "32-true"
    compiled: bool = False
    weight: float = 1.0

    @property
    def name(self) -> str:
        words = [_short(self.case), "compiled" if self.compiled else "eager"]
        return ", ".join([*words, *(["bf16"] if self.precision == "bf16-mixed" else [])])


def measurements(device: str, *, tiny: bool) -> list[Measurement]:
    """Two nets, eager and compiled, in float32 and bfloat16. Tiny: compiled is left out, as it takes a minute."""
    if tiny:
        fully, residual = dense(3, 16, 2, batch=32), resnet(2, 32, 1)
        settings = [Setting(fully), Setting(fully, "bf16-mixed"), Setting(residual)]
    else:
        fully, residual = dense(10, 500, 10, GOAL), resnet(256, 224, 2, GOAL)
        eager = [Setting(fully), Setting(residual, weight=4), Setting(residual, "bf16-mixed", weight=4)]
        compiled = [replace(setting, compiled=True, weight=4) for setting in eager]
        settings = [*eager, Setting(fully, "bf16-mixed"), *compiled]
    period = 2 if tiny else PERIOD
    ratios = [Measurement(each.name, partial(ratio, each, device, period), each.weight) for each in settings]
    watched = (fully,) if tiny else (fully, residual)
    waits = [Measurement(f"waits, {_short(case)}", partial(waits_and_memory, case, device), 0.5) for case in watched]
    return [*ratios[:2], *waits, *ratios[2:]]


def _short(case: Case) -> str:
    return case.name.split(",")[0]


def ratio(setting: Setting, device: str, period: int, seconds: float) -> dict[str, Any]:
    """Of watched steps to unwatched ones; see `callback.summary`."""
    if setting.compiled:
        torch.compiler.reset()
    how: dict[str, Any] = {"device": device, "compiled": setting.compiled, "precision": setting.precision}
    rounds = 1 if period < PERIOD else 6
    result = measure(setting.case, OURS, **how, rounds=rounds, period=period, seconds=seconds)
    least, greatest = result["ratio_range"]
    words = f"ratio {result['ratio']:.3f} ({least:.3f}–{greatest:.3f}), rounds: {result['rounds']}"
    words += f", step {result['plain_milliseconds']:.2f} ms"
    if (goal := setting.case.goal) is not None:
        words += f"; goal {goal:g} {'met' if result['ratio'] <= goal else 'missed'}"
    return {**result, **how, "goal": setting.case.goal, FINDING: words}


def waits_and_memory(case: Case, device: str, seconds: float) -> dict[str, Any]:
    """Synchronizing ops of a step, and the peak of memory of a training, without the callback and with it."""
    with tempfile.TemporaryDirectory() as directory:
        watchers = {"without": pl.Callback(), "with": ActivationLengths(directory, flush_every_n_steps=NEVER)}
        found = {name: _waits_and_mebibytes(case, device, callback) for name, callback in watchers.items()}
    if device == "cpu":
        return {"net": case.name, FINDING: "only a GPU tells"}
    (waits, peak), (watched_waits, watched_peak) = found.values()
    words = f"{watched_waits:g} waits a step, {waits:g} without; memory +{watched_peak - peak:.1f} of {peak:.0f} MiB"
    return {"net": case.name, "waits_and_mebibytes": found, FINDING: words}


def _waits_and_mebibytes(case: Case, device: str, callback: pl.Callback) -> tuple[float, float]:
    """Of a training with this callback; 0 on a CPU."""
    (net, _), batch = build_twins(case, device)
    counter = WaitCounter(device)
    gc.collect()  # an earlier training, which cycles keep
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer = silent_trainer(device, callbacks=[callback, counter], limit_val_batches=0)
    trainer.fit(classifier(net, case, False), Batches([batch] * 2 * COUNTED), [])
    return counter.waits, torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0


class WaitCounter(pl.Callback):
    """Counts synchronizing ops a step between two steps; torch warns of each where it is asked to."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.waits = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        if index == COUNTED:
            self._catcher = warnings.catch_warnings(record=True)
            self._caught = self._catcher.__enter__()
            warnings.simplefilter("always")
            self._mode("warn")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if index == 2 * COUNTED - 1:
            self._mode("default")
            self._catcher.__exit__(None, None, None)
            self.waits = sum("called a synchronizing" in str(warning.message) for warning in self._caught) / COUNTED

    def _mode(self, mode: str) -> None:
        if self._device == "cuda":
            torch.cuda.set_sync_debug_mode(mode)
