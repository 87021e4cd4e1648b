"""Names that W&B's server accepts: short enough in bytes, and still different if the whole names were."""

from hypothesis import given
from hypothesis import strategies as st

from start_training.runs.short_name import group_name, short_name

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(TEXTS, st.sampled_from([64, 128]))
def test_a_name_fits_in_bytes_and_a_short_one_is_unchanged(text, limit):
    name = short_name(text, limit)
    assert len(name.encode()) <= limit
    assert (name == text) == (len(text.encode()) <= limit)
    assert len(group_name(text, limit).encode()) <= limit
    assert not {*group_name(text, limit)} & {*"/\\#?%:"}


def test_names_that_differ_only_behind_the_cut_stay_different():
    names = [short_name(f"{'model.width=16 ' * 20}seed={seed}", 128) for seed in range(100)]
    assert len({*names}) == 100
    assert {len(name) for name in names} == {128}
    assert len({group_name(text, 128) for text in ("a:b", "a/b", "a-b")}) == 3


def test_a_name_from_bytes_that_are_no_utf8_can_be_sent():
    assert short_name("seed=\udcff", 128).encode()
