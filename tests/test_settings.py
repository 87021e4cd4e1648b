"""Checks of settings return allowed values and raise errors that name the setting and its value."""

import inspect
import math
import pkgutil
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import start_training
from start_training.settings import (
    AtLeast,
    Fraction,
    OneOf,
    PositiveInteger,
    PositiveNumber,
    Seed,
    check,
    checked,
    constraints,
    fraction,
    list_of,
    named_in,
    number_from_zero,
    one_of,
    positive_integer,
    positive_number,
    seed,
    settings_from,
    whole_number,
)

NUMBERS = {
    # check: (whether it accepts a number of its kind, its rule)
    positive_integer: (lambda value: value >= 1, "must be a whole number of at least 1"),
    whole_number: (lambda value: value >= 0, "must be a whole number of at least 0"),
    positive_number: (lambda value: 0 < value < math.inf, "must be a number above 0"),
    number_from_zero: (lambda value: 0 <= value < math.inf, "must be a number of at least 0"),
    fraction: (lambda value: 0 <= value < 1, "must be a fraction, at least 0 and below 1"),
}
EDGES = [-1, 0, 1, 2, -1e-300, -0.0, 0.0, 1e-300, 1.0, math.nextafter(1, 0), math.inf, -math.inf, math.nan, 10**12]


@pytest.mark.parametrize("check", NUMBERS)
@given(value=st.sampled_from([*EDGES, None, "1", True, False, [1]]) | st.integers() | st.floats())
def test_an_allowed_value_is_returned_and_another_is_an_error(check, value):
    accepts, rule = NUMBERS[check]
    whole = check in (positive_integer, whole_number)
    if type(value) in ((int,) if whole else (int, float)) and accepts(value):
        assert check("width", value) == value and type(check("width", value)) is (int if whole else float)
    else:
        with pytest.raises(ValueError, match=f"^{re.escape(f'width = {value!r}: {rule}')}$"):
            check("width", value)


def test_a_whole_number_can_have_another_minimum():
    assert whole_number("epochs", -1, at_least=-1) == -1
    with pytest.raises(ValueError, match=r"^epochs = -2: must be a whole number of at least -1$"):
        whole_number("epochs", -2, at_least=-1)


def test_seeds_are_from_0_to_2_to_the_63_minus_1():
    assert (seed("seed", 0), seed("seed", 2**63 - 1)) == (0, 2**63 - 1)
    with pytest.raises(ValueError, match=r"^seed = 9223372036854775808: must be below 2\^63$"):
        seed("seed", 2**63)
    with pytest.raises(ValueError, match=r"^seed = -1: must be a whole number of at least 0$"):
        seed("seed", -1)


@pytest.mark.parametrize("value", ["rel", "", None, 3, ["relu"]])
def test_names_must_be_allowed_and_lists_not_empty(value):
    assert one_of("activation", "relu", {"tanh", "relu"}) == "relu"
    with pytest.raises(ValueError, match=f"^{re.escape(f'activation = {value!r}: must be one of relu, tanh')}$"):
        one_of("activation", value, {"tanh", "relu"})
    if isinstance(value, list):
        assert list_of("names", tuple(value)) == value
    else:
        message = re.escape(f"names = {value!r}: must be a list with at least one entry")
        with pytest.raises(ValueError, match=f"^{message}$"):
            list_of("names", value)


def test_the_setting_at_the_beginning_of_a_message_is_found():
    assert [named_in(text) for text in ("a.b-c = 3: bad", "a = b = c", "no a = 3", " a = 3")] == [
        "a.b-c",
        "a",
        None,
        None,
    ]


@checked
@dataclass(frozen=True)
class Bins:
    bins: Annotated[int, AtLeast(2)]
    unit: Annotated[str, OneOf(("step", "epoch"))] = "step"


@checked
@dataclass(frozen=True)
class Scan:
    widths: Sequence[PositiveInteger]
    bins: Bins | None
    share: Fraction | None = 0.5
    seed: Seed = 0


GOOD = {"widths": [1, 2], "bins": {"bins": 2}, "share": None, "other": "left alone"}


def test_a_nested_dataclass_is_built_from_a_config():
    assert settings_from(Scan, GOOD) == Scan([1, 2], Bins(2), None, 0)
    assert settings_from(Scan, GOOD | {"bins": None}).bins is None


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"widths": [1, 0]}, "scan.widths = 0: must be a whole number of at least 1"),
        ({"widths": []}, "scan.widths = []: must be a list with at least one entry"),
        ({"widths": 3}, "scan.widths = 3: must be a list with at least one entry"),
        ({"bins": {"bins": 1}}, "scan.bins.bins = 1: must be a whole number of at least 2"),
        ({"bins": {"bins": 2, "unit": "day"}}, "scan.bins.unit = 'day': must be one of epoch, step"),
        ({"bins": {}}, "scan.bins.bins: must be set"),
        ({"share": 1}, "scan.share = 1: must be a fraction, at least 0 and below 1"),
        ({"seed": None}, "scan.seed = None: must be a whole number of at least 0"),
    ],
)
def test_an_error_names_the_full_key_of_a_field(wrong, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        settings_from(Scan, GOOD | wrong, "scan")


def test_functions_and_dataclasses_check_positional_and_keyword_arguments():
    @checked
    def half(width: PositiveInteger, *rest: int, share: Fraction = 2.0) -> float:
        return width * share

    assert half(3) == 6.0  # a default is not checked
    for call in (lambda: half(0), lambda: half(width=0), lambda: Scan([0], None), lambda: Scan(widths=[0], bins=None)):
        with pytest.raises(ValueError, match=r"^widths? = 0: "):
            call()
    with pytest.raises(TypeError, match="unexpected"):
        half(3, depth=1)


CONF = Path(__file__).parents[1] / "conf"
VALUES = (
    None,
    True,
    -1,
    0,
    0.5,
    1,
    2,
    3.0,
    2**63,
    math.nan,
    math.inf,
    "nosuch",
    "cpu",
    "1",
    [],
    [0],
    [1],
    [2],
    ["x"],
    (1, 2, 3),
    {},
    {"name": {"_target_": "start_training.initializers.torch_default.TorchDefault"}},
    2**2000,  # float() raises OverflowError
    [2**2000, 1],
    {"drift": 2**2000},
)


def named_in_conf():
    """Return the classes and functions of this package that are named in YAML files of conf/, by name."""
    text = "".join(path.read_text() for path in sorted(CONF.rglob("*.yaml")))
    return {name: pkgutil.resolve_name(name) for name in set(re.findall(r"start_training(?:\.\w+){3,}", text))}


def all_checked():
    """Return every function and method of the package that is decorated by `checked`, by name."""
    decorated = {}
    for module in pkgutil.walk_packages(start_training.__path__, "start_training."):
        for member in vars(import_module(module.name)).values():
            functions = vars(member).values() if inspect.isclass(member) else [member]
            for function in functions:
                if getattr(function, "__code__", None) is checked(lambda: None).__code__:
                    decorated[f"{function.__module__}.{function.__qualname__}"] = function
    return decorated


def refusal(name, value, annotation):
    """Return the error message of the constraint in an annotation for a value, or None if the value is allowed."""
    try:
        check(name, value, annotation)
    except ValueError as error:
        return str(error)


def allowed(name, annotation):
    """A value that the constraint in an annotation, if there is one, allows."""
    candidates = [*names_in(annotation), [*names_in(annotation)], *VALUES]
    values = [value for value in candidates if annotation is None or not refusal(name, value, annotation)]
    assert values, f"none of the values tried is allowed as {name}: {annotation}"
    return values[0]


def names_in(annotation):
    """The names that constraints in an annotation, at any depth, allow."""
    inner = [name for argument in get_args(annotation) for name in names_in(argument)]
    return [*getattr(annotation, "allowed", ()), *inner]


def raises(message, target, arguments):
    """Return whether a call raises a ValueError with the given message."""
    try:
        target(**arguments)
    except Exception as error:
        return isinstance(error, ValueError) and str(error) == message
    return False


def not_enforced(target):
    """Return the constrained parameters of a class or function, and those whose constraints it does not enforce."""
    annotations = constraints(target.__init__ if inspect.isclass(target) else target)
    parameters = [p for p in inspect.signature(target).parameters.values() if p.kind is not p.VAR_KEYWORD]
    required = {p.name: allowed(p.name, annotations.get(p.name)) for p in parameters if p.default is p.empty}
    wrong = []
    for name, annotation in annotations.items():
        refusals = {repr(value): (value, refusal(name, value, annotation)) for value in VALUES}
        refused = [(value, message) for value, message in refusals.values() if message]
        assert refused and all(re.match(rf"{name}(\.\w+)* = ", message) for _, message in refused)
        if not all(raises(message, target, required | {name: value}) for value, message in refused):
            wrong.append(name)
    return [*annotations], wrong


def test_every_declared_constraint_is_enforced():
    targets = named_in_conf() | all_checked()
    enforced = {name: not_enforced(target) for name, target in targets.items()}
    assert {name: wrong for name, (_, wrong) in enforced.items() if wrong} == {}
    parameters = {f"{name.rpartition('.')[2]}.{key}" for name, (keys, _) in enforced.items() for key in keys}
    some = {"FullyConnected.dropout", "Residual.module_widths", "Mnist.batch_size", "in_blocks.depth", "PhasePoint.J"}
    assert some <= parameters and len(parameters) > 80


def test_a_constraint_that_is_not_enforced_is_found():
    def unchecked(width: PositiveInteger, rate: PositiveNumber = 1.0) -> None:
        positive_number("rate", rate)

    class Checked:
        @checked
        def __init__(self, depth: PositiveInteger, size: int) -> None:
            pass

    def renamed(size: PositiveInteger) -> None:
        positive_integer("width", size)

    assert not_enforced(unchecked) == (["width", "rate"], ["width"])
    assert not_enforced(Checked) == (["depth"], [])
    assert not_enforced(renamed) == (["size"], ["size"])
