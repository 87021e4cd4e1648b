"""Tests of the benchmark `callback`; measured times are not tested."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console

from benchmarks import _stepped_fit, callback
from benchmarks._harness import results_table
from benchmarks._nets import dense, gpt
from benchmarks._stepped_fit import SteppedFit, deferred_seconds
from benchmarks.callback_parts import peers
from benchmarks.callback_parts.methods import ITEM, METHODS, NOTHING, OURS, OURS_CSV
from scripts.benchmark import main
from start_training.config.errors import run

TINY = dense(3, 8, 4, 1.03, batch=16)
TINY_GPT = gpt(2, blocks=2, width=8, tokens=4, vocabulary=16, batch=3)
PLAIN = [NOTHING, OURS, OURS_CSV, ITEM]


class Stopwatch:
    """A replacement for `SteppedFit` whose steps take known times."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds, self.finished = iter(seconds), False

    def time_steps(self, steps: int = 1) -> float:
        return next(self.seconds)

    def finish(self) -> None:
        self.finished = True


def test_methods_are_measured_in_one_run():
    results = callback.measure(TINY, PLAIN, rounds=2, period=3)
    assert [(result["method"], result["goal"]) for result in results] == [
        (NOTHING, None),
        (OURS, 1.03),
        (OURS_CSV, 1.03),
        (ITEM, None),
    ]
    for result in results:
        assert (result["net"], result["layers"], result["rounds"], result["pairs"]) == ("3 x 8, batch 16", 4, 2, 4)
        assert result["ratio_range"][0] <= result["ratio"] <= result["ratio_range"][1]
        assert (result["deferred_microseconds"] != 0) == (result["method"] in (OURS, OURS_CSV))


@pytest.mark.slow  # W&B starts a process, and fastai and Composer take seconds to import
@pytest.mark.filterwarnings("ignore")  # those of peers
@pytest.mark.parametrize("net", [TINY, TINY_GPT], ids=["dense", "gpt"])
@pytest.mark.parametrize("method", [name for name in METHODS if name not in PLAIN])
def test_methods_of_other_packages_are_measured(net, method):
    if package := METHODS[method].missing():
        pytest.skip(f"needs {package}")
    [result] = callback.measure(net, [method], rounds=1, period=3)
    assert result["added_microseconds"] > 0
    assert result["pairs"] == (1 if METHODS[method].slow else net.pairs)


def test_a_run_prints_a_table_per_net_and_names_what_is_not_measured(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(callback, "nets", lambda device, **_: [TINY, TINY_GPT])
    monkeypatch.setattr(callback, "QUICK_ROUNDS", 1)
    monkeypatch.setattr(callback, "PERIOD", 3)
    monkeypatch.setattr("benchmarks.callback_parts.methods.find_spec", lambda name: None)
    chosen = [OURS, OURS_CSV, "ActivationStats", "ActivationMonitor"]
    file = tmp_path / "costs.json"
    callback.main(["--quick", "--methods", *chosen, "--out", str(file)])
    *lines, _, _ = capsys.readouterr().out.rstrip().rsplit("\n", 2)
    text = "\n".join(lines)
    assert max(map(len, text.splitlines())) <= 80
    assert "Not measured: ActivationStats, since fastai is not installed" in text
    assert "GPT-2-like, 2 blocks x 8, batch 3 of 4 tokens" in text
    content = json.loads(file.read_text())
    assert content["not_measured"] == {chosen[2]: "fastai", chosen[3]: "mosaicml"}
    assert [row["method"] for row in content["results"]] == chosen[:2] * 2


def test_a_table_of_all_methods_fits_80_columns():
    cost = {"added_microseconds": 4.7e6, "ratio": 169.2, "ratio_range": [1.5, 225.1], "ratio_quantiles": [9.99, 214.0]}
    console = Console(width=80)
    with console.capture() as capture:
        usual = {**cost, "added_microseconds": -79690, "ratio_range": [0.989, 1.246], "ratio_quantiles": [0.87, 1.39]}
        rows = [{"method": name, "goal": 1.03, **numbers} for name in METHODS for numbers in (cost, usual)]
        console.print(results_table("", callback.COLUMNS, rows))
    assert "…" not in capture.get()
    assert "4700     169     1.500–225    9.99–214   ≤ 1.03" in capture.get()


def test_slow_and_compiled_nets_are_measured_with_fewer_methods():
    assert callback.suitable_methods(TINY, list(METHODS), compiled=False) == list(METHODS)
    assert callback.suitable_methods(dense(3, 8), PLAIN, compiled=False) == [OURS, OURS_CSV, ITEM]
    assert callback.suitable_methods(TINY, PLAIN, compiled=True) == [NOTHING, OURS]


@pytest.mark.parametrize("adapter", [peers.FastaiStats, peers.ComposerMonitor])
def test_callbacks_of_other_trainers_get_their_events_once_per_step(adapter, monkeypatch):
    events: list[str] = []

    class Peer:
        """Either peer, which remembers its events."""

        def __init__(self, **settings):
            assert settings in ({}, {"interval": "1ba"})
            for event in ("before_forward", "after_forward"):
                setattr(self, event, lambda state, logger, event=event: events.append(f"{event} {state.timestamp}"))

        def __call__(self, event):
            events.append(f"{event} {self.learn.train_iter}")

    class Batch(int):
        def to_next_batch(self):
            return Batch(self + 1)

    package = {"ActivationStats": Peer, "ActivationMonitor": Peer, "Logger": lambda state: None, "Timestamp": Batch}
    monkeypatch.setattr(peers, "import_module", lambda name: SimpleNamespace(**package))
    (net, _), batch = TINY.twins("cpu")
    training = SteppedFit(TINY.classifier(net), batch, adapter())
    training.time_steps(2)
    training.finish()
    if adapter is peers.FastaiStats:
        steps = ["before_batch 0", "after_batch 1", "before_batch 1", "after_batch 2"]
        assert events == ["before_fit 0", *steps, "after_fit 2"]
    else:
        assert events == [f"{event} {step}" for step in range(2) for event in ("before_forward", "after_forward")]


def test_the_language_model_is_causal_starts_at_chance_and_is_measured_without_declaring_anything():
    (net, _), (tokens, targets) = TINY_GPT.twins("cpu")
    assert not hasattr(net, "measured_layers") and not hasattr(net, "measured_input")
    logits = net(tokens)
    assert logits.shape == (3, 16, 4)
    assert torch.nn.functional.cross_entropy(logits, targets).item() == pytest.approx(np.log(16), abs=0.1)
    changed = tokens.clone()
    changed[:, 2] = (tokens[:, 2] + 1) % 16
    same = torch.isclose(net(changed), logits, rtol=0, atol=1e-7).all(1).all(0)
    assert same.tolist() == [True, True, False, False]
    assert len(callback.measured_names(TINY_GPT)) >= 3


def test_deferred_work_is_divided_by_the_period_and_the_training_ends(monkeypatch):
    training = Stopwatch([1, 1, 7, 1, 1, 10])
    monkeypatch.setattr(_stepped_fit, "SteppedFit", lambda module, batch, callback: training)
    seconds = deferred_seconds(None, (), lambda directory, period: None, 3, periods=2)
    assert seconds == pytest.approx((6 + 9) / 2 / 3)
    assert training.finished


def test_a_turn_includes_the_time_of_callbacks_and_raises_their_errors():
    steps: list[int] = []

    class Watching(pl.Callback):
        def on_train_batch_end(self, trainer, *args):
            steps.append(trainer.global_step)
            time.sleep(0.02)
            assert len(steps) < 4, "as it should"

    (net, _), batch = TINY.twins("cpu")
    training = SteppedFit(TINY.classifier(net), batch, Watching())
    assert training.time_steps(3) > 0.02  # a sleep is never shorter than this
    assert steps == [1, 2, 3]
    with pytest.raises(AssertionError, match="as it should"):
        training.time_steps()
    training.finish()


def test_summary_includes_deferred_work():
    times = np.array([[[1.0, 1.1], [2.0, 2.2]], [[1.0, 1.3], [1.0, 1.3]]])  # two rounds of two pairs
    result = callback.summary(times, 0.1)
    assert result["ratio"] == pytest.approx(np.mean([1.175, 1.4]))
    assert result["ratio_range"] == pytest.approx([1.175, 1.4])
    assert result["ratio_quantiles"] == pytest.approx([1.165, 1.4])
    assert result["added_microseconds"] == pytest.approx(1e6 * np.mean([0.25, 0.4]))
    assert result["plain_milliseconds"] == 1000


def test_an_unknown_benchmark_is_reported_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark.py", "nothing_here"])
    with pytest.raises(SystemExit, match="1"):
        run(main)
    [error] = capsys.readouterr().err.splitlines()
    assert error.startswith("error: benchmark = 'nothing_here': must be one of callback, ensembles, ")
