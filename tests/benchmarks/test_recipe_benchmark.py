"""Tests of the benchmark `recipe`: the documentation reports its stored rows, and a row is stored in a short form."""

import pandas as pd
import pytest

from benchmarks._harness import ROOT
from benchmarks.recipe import SEEDS, read_rows, short
from benchmarks.recipe_parts.contenders import CONTENDERS
from benchmarks.recipe_parts.scores import ranks, summary_of
from benchmarks.recipe_parts.tasks import HELD_OUT

ROWS = ROOT / "benchmarks" / "recipe_parts" / "rows.json"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.DataFrame(read_rows(ROWS))


def test_each_contender_has_a_row_for_each_task_and_seed(table):
    counts = table.groupby(["contender", "task"])["seed"].nunique()
    assert len(table) == counts.sum() == SEEDS * len(HELD_OUT) * len(CONTENDERS) and (counts == SEEDS).all()


def test_the_documentation_reports_the_stored_rows(table):
    words = (ROOT / "docs" / "benchmarks.md").read_text().replace("**", "")
    for contender, row in summary_of(table)[[task.name for task in HELD_OUT]].iterrows():
        assert f"| {contender} | {' | '.join(row)} |" in words
    for row in ranks(table):
        totals = f"{row['rank']:.2f} | {row['within']} of {row['tasks']} | {row['wins']}–{row['losses']}"
        assert f"| {row['contender']} | {totals} |" in words


def test_a_row_is_stored_in_a_short_form():
    overrides = ["schedule=one_cycle", "optimizer.lr=0.0057"]
    row = short({"score": 1 / 3, "wall": float("inf"), "chosen": {"overrides": overrides, "fallbacks": []}})
    assert row == {"score": 0.33333, "wall": None, "chosen": {"fallbacks": [], "lr": 0.0057}}
