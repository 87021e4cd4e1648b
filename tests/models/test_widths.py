"""Lists of widths that alternate or form blocks."""

from hypothesis import given
from hypothesis import strategies as st

from start_training.models.fully_connected import FullyConnected
from start_training.models.widths import alternating, in_blocks


@given(st.integers(1, 20), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_widths_alternate_or_form_blocks(depth, widths):
    in_turn, blocks = alternating(depth, widths), in_blocks(depth, list(range(1, len(widths) + 1)))
    assert in_turn == (widths * depth)[:depth]
    assert FullyConnected(5, 2, widths=in_turn).widths == in_turn
    counts = [blocks.count(number) for number in range(1, len(widths) + 1)]
    assert sorted(blocks) == blocks and sum(counts) == depth and max(counts) - min(counts) <= 1
    assert blocks[0] == 1
