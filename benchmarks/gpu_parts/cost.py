"""Measure the cost of ActivationLengths in a training step on the device, as `benchmark.py callback` does.

Each round trains a new pair of nets, one of them with the callback, in turns of ten steps. The result is the median and
the range over rounds of the median ratios; there are six rounds, or as many as time allows. The part also measures the
number of operations per step that synchronize with the device, as reported by torch, and the peak memory, both with and
without the callback.
"""

import gc
import tempfile
import warnings
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks._harness import met
from benchmarks._measuring import with_gpu_peak
from benchmarks._nets import TimedNet, dense, resnet
from benchmarks._stepped_fit import silent_trainer
from benchmarks.callback import NEVER, PERIOD, measure
from benchmarks.callback_parts.methods import OURS
from benchmarks.gpu_parts.correctness import BatchList
from benchmarks.gpu_parts.parts import FINDING, Case
from start_training.callbacks.activation_lengths import ActivationLengths

GOAL = 1.05  # largest allowed ratio
FLOAT32, BF16 = "32-true", "bf16-mixed"
COUNTED = 10  # number of steps whose synchronizations are counted, after as many warm-up steps


def cases(device: str, *, tiny: bool) -> list[Case]:
    """Return cases for two nets, eager and compiled, in float32 and bfloat16; `tiny` leaves out compiled nets."""
    if tiny:
        fully, residual, period = dense(3, 16, 2, batch=32), resnet(2, 32, 1), 2
        eager = [(fully, FLOAT32), (fully, BF16), (residual, FLOAT32)]
        settings = [(*setting, False) for setting in eager]
    else:
        fully, residual, period = dense(10, 500, 10, GOAL), resnet(256, 224, 2, GOAL), PERIOD
        eager = [(fully, FLOAT32), (residual, FLOAT32), (residual, BF16)]
        settings = [*((*setting, False) for setting in eager), (fully, BF16, False)]
        settings += [(*setting, True) for setting in eager]
    ratios = []
    for net, precision, compiled in settings:
        words = [net.kind, "compiled" if compiled else "eager", *(["bf16"] if precision == BF16 else [])]
        weight = 4.0 if not tiny and (compiled or net is residual) else 1.0
        training = {"device": device, "compiled": compiled, "precision": precision}
        ratios.append(Case(", ".join(words), partial(ratio, net, period, training), weight))
    nets = (fully,) if tiny else (fully, residual)
    waits = [Case(f"synchronizations, {net.kind}", partial(waits_and_memory, net, device), 0.5) for net in nets]
    return [*ratios[:2], *waits, *ratios[2:]]


def ratio(net: TimedNet, period: int, training: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Measure the ratio of the times of steps with and without the callback.

    `training` holds arguments of `callback.measure`.
    """
    if training["compiled"]:
        torch.compiler.reset()
    rounds = 1 if period < PERIOD else 6
    [result] = measure(net, [OURS], **training, rounds=rounds, period=period, seconds=seconds)
    words = "ratio {ratio:.3f} ({ratio_range[0]:.3f}–{ratio_range[1]:.3f}), {rounds} rounds"
    words += ", step {plain_milliseconds:.2f} ms"
    goal = "" if net.goal is None else f"; goal {net.goal:g} {met(result['ratio'] <= net.goal)}"
    return {**result, **training, FINDING: words.format(**result) + goal}


def waits_and_memory(net: TimedNet, device: str, seconds: float) -> dict[str, Any]:
    """Count synchronizing operations per step and measure peak memory, without the callback and with it."""
    with tempfile.TemporaryDirectory() as directory:
        watchers = {"without": pl.Callback(), "with": ActivationLengths(directory, flush_every_n_steps=NEVER)}
        results = {name: _waits_and_mebibytes(net, device, callback) for name, callback in watchers.items()}
    if device == "cpu":
        return {"net": net.name, FINDING: "not measured on a CPU"}
    (waits, peak), (watched_waits, watched_peak) = results.values()
    words = (
        f"{watched_waits:g} synchronizations per step, {waits:g} without the callback; peak memory {peak:.0f} MiB "
        f"+ {watched_peak - peak:.1f} MiB"
    )
    return {"net": net.name, "waits_and_mebibytes": results, FINDING: words}


def _waits_and_mebibytes(net: TimedNet, device: str, callback: pl.Callback) -> tuple[float, float]:
    (module, _), batch = net.twins(device)
    counter = WaitCounter(device)
    gc.collect()  # an earlier training may be kept alive by reference cycles
    trainer = silent_trainer(device, callbacks=[callback, counter], limit_val_batches=0)
    work = partial(trainer.fit, net.classifier(module), BatchList([batch] * 2 * COUNTED), [])
    _, peak = with_gpu_peak(work, device)
    return counter.waits, peak or 0.0


class WaitCounter(pl.Callback):
    """Callback that counts synchronizing operations per step, from the warnings of torch's sync debug mode."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.waits = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        if index == COUNTED:
            self._catcher = warnings.catch_warnings(record=True)
            self._caught = self._catcher.__enter__()
            warnings.simplefilter("always")
            self._set_mode("warn")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if index == 2 * COUNTED - 1:
            self._set_mode("default")
            self._catcher.__exit__(None, None, None)
            self.waits = sum("called a synchronizing" in str(warning.message) for warning in self._caught) / COUNTED

    def _set_mode(self, mode: str) -> None:
        if self._device == "cuda":
            torch.cuda.set_sync_debug_mode(mode)
