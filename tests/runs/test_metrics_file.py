"""metrics.csv has one row per step, and reading returns exactly the numbers that were written."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from start_training.runs.metrics_file import MetricsFile, newest_metrics, read_metrics, truncate_metrics

ROWS = st.lists(
    st.tuples(st.integers(0, 20), st.dictionaries(st.sampled_from("abc"), st.floats(width=64), min_size=1)), max_size=8
)


def known(row):
    """Return a row with its numbers as text, which compares them exactly and makes NaN equal to NaN."""
    return {name: repr(value + 0.0) for name, value in sorted(row.items())}


@given(ROWS, st.integers(0, 21))
@example([(0, {"a": 1.1e32, "b": 2.0**53, "c": -(2.0**53)}), (3, {"a": 0.5, "b": 2.0**53 - 1})], 3)
def test_rows_are_read_back_exactly_after_any_number_of_writes(logged, step):
    expected: dict[int, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.csv"
        for at, metrics in logged:
            MetricsFile(folder).log_metrics(metrics, step=at)
            expected.setdefault(at, {"step": at}).update(metrics)
        read = read_metrics(path)
        assert {at: known(row) for at, row in read.items()} == {at: known(row) for at, row in expected.items()}
        assert list(read) == sorted(read)
        if read:  # pandas reads numbers, too, although it reads integers of more than 64 bits as text
            table = pd.read_csv(path).set_index("step")
            for at, row in expected.items():
                for name in row.keys() - {"step"}:
                    assert table.loc[at, name] == pytest.approx(row[name], rel=1e-12, nan_ok=True)
        truncate_metrics(path, step)
        assert list(read_metrics(path)) == [at for at in sorted(expected) if at < step]


def test_newest_metrics_are_the_last_values_without_step_epoch_and_learning_rate(tmp_path):
    logger = MetricsFile(tmp_path)
    logger.log_rows([({"epoch": 1, "learning_rate": 0.1, "train/loss": 2.0}, 9), ({"train/loss": 3.0, "val": 1.0}, 4)])
    assert newest_metrics(tmp_path / "metrics.csv") == {"train/loss": 2.0, "val": 1.0}
    assert newest_metrics(tmp_path / "none.csv") == {}
    assert (logger.save_dir, logger.name, logger.version) == (str(tmp_path), "", "")
