"""Training time excludes loading and testing, and continues in a resumed run."""

import pytest

from start_training.callbacks import training_time
from start_training.callbacks.training_time import TrainingTime


@pytest.mark.parametrize("end", ["on_train_end", "on_exception"])
def test_time_is_counted_from_the_first_step_to_the_end_and_continues_in_a_resumed_run(monkeypatch, end):
    timer, now = TrainingTime(), iter([100.0, 101.5, 103.25, 200.0, 202.0])
    monkeypatch.setattr(training_time.time, "monotonic", lambda: next(now))
    assert timer.summary() == {"training_seconds": 0}
    timer.on_train_start(None, None)
    assert timer.seconds == 1.5
    getattr(timer, end)(*[None] * (2 + (end == "on_exception")))
    assert timer.summary() == {"training_seconds": 3.25}
    resumed = TrainingTime()
    resumed.load_state_dict(timer.state_dict())
    resumed.on_train_start(None, None)
    assert resumed.seconds == 5.25
