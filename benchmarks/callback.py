"""Measure the cost of recording the length of every layer at every step, compared with other ways to record it.

Whole training steps of Lightning on one batch are timed (`Trainer.fit`, automatic optimization, SGD; no logger, no
checkpoints and no progress bar, so that the plain step is as short as possible). Each method is a callback that
watches a net. A twin of this net, with the same weights, is trained without it, and both trainings take turns. On a
GPU and for compiled nets a turn has ten steps, since waiting for the device after each step would prevent the host
from running ahead.

Each round trains a new pair of nets, since their places in memory change step times by about a percent. The result of
a round is the median ratio of its pairs of turns; the table shows the median and the range of six rounds.

The times include all work of a step. Work that a method defers to every 100th step (for ActivationLengths, transfer
and writing to disk) does not depend on the batch: it is timed in two hundred steps of a separate net, not compiled, on
two samples, and a hundredth of it is added to every step. The times do not include what happens once (registering
hooks, joining the parts of tables at the end) and the work of the process that W&B starts, which slows both twins. The
first method, a callback that does nothing, shows how far noise moves a ratio from 1.
"""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import wandb
from torch import Tensor, nn

from benchmarks._harness import Columns, Session, benchmark, results_table
from benchmarks._measuring import Array, in_turns, spread
from benchmarks._nets import TimedNet, dense, resnet
from benchmarks._stepped_fit import SteppedFit, deferred_seconds
from start_training.callbacks.activation_lengths import ActivationLengths, measured_net
from start_training.lengths.capture import Capture, measured_layers

ROUNDS = 6
PERIOD = 100  # steps after which deferred work is done, the default of ActivationLengths
NEVER = 10**9

OURS = "ActivationLengths"
ITEM = "item_by_layer"


class ReadEachLayer(pl.Callback):
    """Callback with a forward hook on each layer that calls `.item()` on the mean and variance of its length.

    This is the usual way to record lengths. It measures, in float32, the same layers as ActivationLengths except the
    input, and appends the numbers to a list.
    """

    def __init__(self) -> None:
        self.history: list[tuple[float, float]] = []
        self._handles: list[Any] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        net = measured_net(pl_module)
        for name in measured_layers(net):
            self._handles.append(net.get_submodule(name).register_forward_hook(self._read))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for handle in self._handles:
            handle.remove()

    def _read(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        lengths = output.detach().flatten(1).square().mean(1)
        self.history.append((lengths.mean().item(), lengths.var().item()))


class WatchWithWandb(pl.Callback):
    """Callback that calls `wandb.watch` for all weights and gradients, and `log` at each step; offline."""

    def __init__(self, directory: Path, log_freq: int) -> None:
        self.directory = directory
        self.log_freq = log_freq

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        self.run = wandb.init(mode="offline", dir=self.directory, settings=settings)
        self.run.watch(measured_net(pl_module), log="all", log_freq=self.log_freq)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        self.run.log({"global_step": trainer.global_step})

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.run.unwatch()
        self.run.finish()


Method = Callable[[Path, int], pl.Callback]  # function of a directory to write to and the period of deferred work
METHODS: dict[str, Method] = {
    "nothing": lambda directory, period: pl.Callback(),
    OURS: lambda directory, period: ActivationLengths(directory, flush_every_n_steps=period),
    ITEM: lambda directory, period: ReadEachLayer(),
    "wandb.watch": lambda directory, period: WatchWithWandb(directory, 1),
    "wandb.watch/100": WatchWithWandb,
}
DEFERRING = (OURS, "wandb.watch/100")  # methods that defer work
COLUMNS: Columns = {
    "method": "{method}",
    "added, µs": "{added_microseconds:.0f}",
    "per layer": lambda row: f"{row['added_microseconds'] / row['layers']:.1f}",
    "ratio": "{ratio:.3f}",
    "range of rounds": "{ratio_range[0]:.3f}–{ratio_range[1]:.3f}",
    "goal": lambda row: f"≤ {row['goal']:.2f}" if row["goal"] else "",
}


@benchmark(
    quick="measure two small nets with fewer pairs, in less than a minute",
    compile={"action": "store_true", "help": "compile the nets"},
    methods={
        "nargs": "+",
        "choices": METHODS,
        "metavar": "METHOD",
        "help": f"methods to measure: {', '.join(METHODS)}",
    },
)
def main(session: Session) -> None:
    """Time the methods on nets suitable for the device, and print a table for each net."""
    device, compiled = session.device, session.options.compile
    session.environment["compiled"] = compiled
    for net in nets(device, quick=session.options.quick, compiled=compiled):
        rows = [
            session.measure(f"{net.name}: {method}", measure, net, method, device=device, compiled=compiled)
            for method in session.options.methods or suitable_methods(net, compiled=compiled)
        ]
        title = "{net}: {plain_milliseconds:.1f} ms a step, {layers} layers measured, {rounds} rounds of {pairs} pairs"
        session.print(results_table(title.format(**rows[0]), COLUMNS, rows))


def nets(device: str, *, quick: bool, compiled: bool) -> list[TimedNet]:
    """Return nets whose measurement takes minutes on the device, or seconds if `quick`."""
    if device == "cuda":
        goal = 1.05 if compiled else None
        on_gpu = [dense(10, 100, 20, goal), dense(50, 1000, 10, goal), resnet(256, 224, 5, 1.05)]
        return on_gpu[:1] if quick else on_gpu
    if compiled:
        return [dense(10, 100, 10)]
    if quick:
        return [dense(10, 100, 15), dense(10, 500, 2, 1.03)]
    slow = [dense(20, 500, 3, 1.03), dense(50, 1000, 1), resnet(32, 64, 4)]
    return [dense(10, 100, 40), dense(10, 500, 8, 1.03), *slow]


def suitable_methods(net: TimedNet, *, compiled: bool) -> list[str]:
    """Return the methods for a net: fewer for slow nets, and no methods that break the graph of compiled nets."""
    if net.pairs == 1:
        return [OURS, ITEM]
    if compiled:
        return ["nothing", OURS]
    return list(METHODS) if net.pairs > 20 else list(METHODS)[:-1]


def measure(
    net: TimedNet,
    method: str,
    *,
    device: str = "cpu",
    compiled: bool = False,
    precision: str = "32-true",
    rounds: int = ROUNDS,
    period: int = PERIOD,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Time one method on one net.

    Args:
        net: The net, which is trained twice: watched by the method and not watched.
        method: One of `METHODS`.
        device: `cpu` or `cuda`.
        compiled: Whether both nets are compiled.
        precision: `precision` of Lightning's Trainer.
        rounds: Largest number of rounds; each trains new twins.
        period: Number of steps after which the method does deferred work.
        seconds: Time limit; no round except the first begins that would probably end later.
    Returns:
        Names of the net and the method, the number of layers that ActivationLengths measures, and the results of
        `summary`.
    """
    way, times, start = METHODS[method], list[Array](), time.monotonic()
    for count in range(1, rounds + 1):
        times.append(_round(net, way, device, compiled, precision))
        if (time.monotonic() - start) * (count + 1) / count > seconds:
            break
    (module, _), batch = net.twins(device)
    deferred = deferred_seconds(net.classifier(module), batch, way, period) if method in DEFERRING else 0.0
    goal = net.goal if method == OURS else None
    names = {"net": net.name, "method": method, "layers": count_layers(net), "goal": goal}
    return names | summary(np.stack(times), deferred)


def summary(times: Array, deferred: float) -> dict[str, Any]:
    """Return the cost of a method.

    Args:
        times: Seconds per step, shape (rounds, pairs, 2), without and with the method.
        deferred: Seconds per step of deferred work.
    Returns:
        `ratio`, the time of a step with the method divided by that without, and its range over rounds `ratio_range`;
        `added_microseconds`, the difference of these times, which includes `deferred_microseconds`.
    """
    plain, watched = times[..., 0], times[..., 1] + deferred
    ratio, *ratio_range = spread(watched / plain)
    return {
        "ratio": ratio,
        "ratio_range": ratio_range,
        "rounds": times.shape[0],
        "pairs": times.shape[1],
        "plain_milliseconds": 1e3 * float(np.median(plain)),
        "added_microseconds": 1e6 * spread(watched - plain).median,
        "deferred_microseconds": 1e6 * deferred,
    }


def count_layers(net: TimedNet) -> int:
    """Return the number of layers that ActivationLengths measures, including the input and repeated calls."""
    (module, _), (inputs, _) = net.twins("cpu")
    capture = Capture(module)
    capture.start()
    module(inputs[:2])
    return len(capture.stop())


def _round(net: TimedNet, method: Method, device: str, compiled: bool, precision: str) -> Array:
    """Return seconds per step of new twins, shape (pairs, 2), after two warm-up pairs (allocation, compilation)."""
    modules, batch = net.twins(device)
    steps, warm_up = 10 if device == "cuda" or compiled else 1, min(net.pairs, 2)
    with tempfile.TemporaryDirectory() as directory:
        callbacks = (pl.Callback(), method(Path(directory), NEVER))
        plain, watched = (
            SteppedFit(net.classifier(module, compiled=compiled), batch, callback, precision=precision)
            for module, callback in zip(modules, callbacks, strict=True)
        )
        ways = [lambda _: plain.time_steps(steps), lambda _: watched.time_steps(steps)]
        times = in_turns(ways, warm_up + net.pairs)
        plain.finish()
        watched.finish()
    return np.array(times[warm_up:])
