import math

import pandas as pd
import pytest

from src.runs.metrics_file import MetricsFile, newest_metrics, read_metrics, truncate_metrics


def test_rows_of_one_step_are_one_row_and_a_new_logger_goes_on(tmp_path):
    MetricsFile(tmp_path).log_metrics({"val/loss": 1.5}, step=4)
    again = MetricsFile(tmp_path)
    again.log_metrics({"epoch": 0, "train/loss": 1 / 3}, step=4)
    again.log_metrics({"train/loss": math.nan}, step=9)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert rows[4] == {"step": 4, "val/loss": 1.5, "epoch": 0.0, "train/loss": 1 / 3}
    assert math.isnan(rows[9]["train/loss"])
    assert newest_metrics(tmp_path / "metrics.csv")["val/loss"] == 1.5


def test_truncating_drops_the_step_and_later_ones(tmp_path):
    logger = MetricsFile(tmp_path)
    for step in (3, 7, 11):
        logger.log_metrics({"train/loss": float(step)}, step=step)
    truncate_metrics(tmp_path / "metrics.csv", 7)
    assert list(read_metrics(tmp_path / "metrics.csv")) == [3]


@pytest.mark.parametrize("value", [1.1e32, -1e300, 3.0, 2.0**53, 0.1, math.inf])
def test_values_are_read_back_as_the_numbers_they_were(tmp_path, value):
    """By pandas, too, to which a whole number of more than 64 bits is text."""
    for step, loss in enumerate((value, 0.5)):
        MetricsFile(tmp_path).log_metrics({"train/loss": loss}, step=step)
    assert pd.read_csv(tmp_path / "metrics.csv")["train/loss"].tolist() == [value, 0.5]
