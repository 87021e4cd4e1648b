"""The stored range tests are those of the docs, and a seeded tenth of them is made again."""

import math
import random
from pathlib import Path

import pytest

from tests.campaigns.range_cases import CASES
from tests.campaigns.range_rates import FILE, SEEDS, read_rows, suggested, summary, table

ROOT = Path(__file__).parents[2]
ASIDE = [case for case in CASES.values() if not case.looked_at]


def test_ten_of_thirty_cases_were_set_aside():
    assert len(CASES) == 30 and len(ASIDE) == 10


def test_the_docs_state_what_is_stored():
    rows = read_rows(FILE)
    parts = [[case for case in CASES.values() if case.looked_at], ASIDE]
    page = " ".join((ROOT / "docs" / "smith.md").read_text().split())
    for part in parts:
        found = [summary(case, rows) for case in part]
        narrow, close = (sum(row[key] < 1 for row in found) for key in ("octaves", "points"))
        assert f"on {narrow} of the {len(part)}" in page and f"on {close} of the {len(part)}" in page
    assert len(table([*CASES.values()], rows).splitlines()) == 33


@pytest.mark.slow
@pytest.mark.parametrize("name", random.Random(0).sample([name for name in CASES if "digits, SGD" in name], 2))
def test_a_tenth_of_the_tests_gives_the_stored_rate(name):
    """On another processor rounding differs, which matters no more than another seed does: less than an octave."""
    rows = read_rows(FILE)
    for seed in [seed for seed in range(SEEDS) if (name, "test", seed, 0.0) in rows]:
        rate = suggested(CASES[name], seed)["max_lr"]
        assert abs(math.log2(rate / rows[name, "test", seed, 0.0]["max_lr"])) < 1
