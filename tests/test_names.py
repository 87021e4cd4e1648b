"""A name stands for one thing: no class name is defined twice, and no file name stands in two folders."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What these hold is named as what they predict, measure, draw or time, and that is in a room of its own.
ABOUT_OTHERS = {"theory", "lengths", "figures", "benchmarks"}


def repeated(places: list[tuple[str, str]]) -> dict[str, list[str]]:
    """The names of (name, place) that have several places."""
    of_name = defaultdict(list)
    for name, place in places:
        of_name[name].append(place)
    return {name: found for name, found in of_name.items() if len(found) > 1}


def sources() -> list[Path]:
    return [path for folder in ("src", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_a_class_name_is_defined_once():
    classes = [
        (node.name, str(path.relative_to(ROOT)))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert not repeated(classes)
    assert repeated([*classes, ("RunDirectory", "a copy")])


def test_a_file_name_stands_in_one_room():
    files = [
        (path.stem, str(path.relative_to(ROOT))) for path in sources() if path.stem not in ("__init__", "__main__")
    ]
    own = [(name, place) for name, place in files if not ABOUT_OTHERS & set(Path(place).parts[:2])]
    assert not repeated(own)
    for room in ABOUT_OTHERS:
        assert not repeated([(name, place) for name, place in files if room in Path(place).parts[:2]])
    assert repeated([*own, ("directory", "a copy")])


def test_no_room_has_more_than_twenty_files_and_no_file_more_than_250_lines():
    crowded = {str(room) for room in (ROOT / "src").rglob("*") if len(list(room.glob("*.py"))) > 21}  # and __init__
    assert not crowded
    assert not {str(path) for path in sources() if len(path.read_text().splitlines()) > 250}


def test_no_function_is_longer_than_forty_lines():
    assert not {
        f"{path.relative_to(ROOT)} {node.name}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - _first_line(node) > 40
    }


def _first_line(function: ast.FunctionDef) -> int:
    """Of its code: a docstring is not counted."""
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    return (function.body[1] if documented else function).lineno
