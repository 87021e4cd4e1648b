"""Whether plain values have annotated types, and which values an error message names as allowed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pytest

from start_training.annotations import allowed, check_type, matches

Mode = Enum("Mode", "A B")


class Sized(Protocol):
    size: int


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (bool, [True], [1, "true", None, [True]]),
        (int, [0, -1], [True, 1.0, "1", None]),
        (float, [0, 1.5, float("nan")], [True, "1", None, [1.0]]),
        (str, ["", "a"], [1, None, ["a"]]),
        (Path, ["a"], [1, {}]),
        (type(None), [None], [0, "", False]),
        (int | None, [1, None], [1.5, "1"]),
        (int | float | None, [1, 1.5, None], ["1", True]),
        (Literal["all"] | bool, ["all", True], ["any", 1, None]),
        (Literal[16, "16"], [16, "16"], [16.0, True, 32]),
        (list[int], [[], [1]], [1, [1.5], "1", None]),
        (Sequence[str], [["a"]], ["a", [1]]),
        (Iterable[Any], [[1, "a"]], [1, "a"]),
        (tuple[float, float], [[1, 2.0]], [[1], [1, 2, 3], 1, [1, "2"]]),
        (tuple[int, ...], [[1, 2, 3]], [["1"]]),
        (dict[str, int], [{"a": 1}], [1, ["a"]]),
        (Mapping[str, Any] | None, [{}, None], ["a"]),
        (timedelta, [{}], [1, "a", None]),  # built from a node
        (Callable[[int], int], [{}], [1, "a", None]),
    ],
)
def test_a_value_has_the_annotated_type(annotation, right, wrong):
    assert [value for value in right if not matches(value, annotation)] == []
    assert [value for value in wrong if matches(value, annotation)] == []
    assert matches({"_target_": "a.b"}, annotation)  # Hydra builds the value


@pytest.mark.parametrize("annotation", [Any, object, Sized, Mode, "a forward reference", Annotated[int, abs]])
def test_an_annotation_that_names_no_plain_types_allows_every_value(annotation):
    assert all(matches(value, annotation) for value in (None, 1, "a", [1], {}))


def test_the_message_says_which_values_are_allowed():
    assert allowed(timedelta | str | None) == "text or null"
    assert allowed(Callable[[int], int]) == "a mapping with _target_"
    assert allowed(Literal["all"] | bool) == "all or true or false"
    with pytest.raises(ValueError, match=r"^optimizer.betas = \[0.9\]: must be a list of 2: a number, a number$"):
        check_type("optimizer.betas", [0.9], tuple[float, float])
