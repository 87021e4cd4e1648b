"""Families of widths."""

import pytest

from src.models.fully_connected import FullyConnected
from src.models.widths import alternating, in_blocks


def test_widths_alternate():
    assert alternating(5, [30, 10]) == [30, 10, 30, 10, 30]
    assert alternating(3, [20]) == [20, 20, 20]
    assert alternating(2, [30, 10, 20]) == [30, 10]


def test_blocks_share_the_depth_in_order():
    assert in_blocks(6, [30, 20, 10]) == [30, 30, 20, 20, 10, 10]
    assert in_blocks(3, [20]) == [20, 20, 20]
    uneven = in_blocks(7, [30, 20, 10])
    assert len(uneven) == 7
    assert sorted(uneven, reverse=True) == uneven
    assert all(2 <= uneven.count(width) <= 3 for width in (30, 20, 10))


@pytest.mark.parametrize("family", [alternating, in_blocks])
@pytest.mark.parametrize("depth", [1, 2, 9, 50])
def test_a_family_is_as_deep_as_it_is_asked_to_be(family, depth):
    widths = family(depth, [30, 10])
    assert len(widths) == depth
    assert FullyConnected(5, 2, widths=widths).widths == widths


@pytest.mark.parametrize("family", [alternating, in_blocks])
@pytest.mark.parametrize("depth, widths", [(0, [10]), (-1, [10]), (2.5, [10]), (4, [10, 0]), (4, [10, 2.5])])
def test_a_count_that_is_not_positive_is_named(family, depth, widths):
    with pytest.raises(ValueError, match=r"^(depth|widths) = "):
        family(depth, widths)


@pytest.mark.parametrize("family", [alternating, in_blocks])
def test_a_family_of_no_widths_is_refused(family):
    with pytest.raises(ValueError, match=r"^widths = "):
        family(4, [])
