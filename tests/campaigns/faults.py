"""Single faults of source files: enumerate all faults of a file, and draw a seeded sample from each folder."""

import ast
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

FOLDERS = ("analysis", "callbacks", "cli", "config", "diagnosis", "initializers", "launchers", "lengths",
           "order_chaos", "replicas", "reports", "runs", "schedules", "studies", "theory", "training")  # fmt: skip
OPERATORS = {  # symbol and its replacement, by syntax node
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.Pow: ("**", "*"),
    ast.FloorDiv: ("//", "/"), ast.Mod: ("%", "+"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "abs": "", "mean": "sum", "sum": "mean"}
FACTOR = 1.5  # real constants are multiplied by this factor, which tests of thresholds have to detect


@dataclass(frozen=True)
class Fault:
    """One change of a source file: in the `nth` occurrence of `line` in `function`, `old` at `column` becomes `new`.

    A fault has no line number, so that it can still be located after other lines of its file have changed.
    """

    file: str
    function: str
    line: str
    nth: int
    column: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.function}: {self.old} -> {self.new} in `{self.line}` (column {self.column})"

    def number(self, source: str) -> int | None:
        """Return the number (from 1) of the changed line, or None if the source no longer has this line."""
        numbers = [
            number for number, function, text in _lines(source) if (function, text) == (self.function, self.line)
        ]
        return numbers[self.nth] if self.nth < len(numbers) else None

    def put_into(self, source: str) -> str:
        """Return the source with the fault; raise ValueError if the source no longer has its line."""
        number = self.number(source)
        if number is None:
            raise ValueError(f"{self}: the file no longer has this line")
        lines = source.splitlines(keepends=True)
        text = lines[number - 1]
        start = len(text) - len(text.lstrip()) + self.column
        assert text[start:].startswith(self.old), f"{self}: {text!r}"
        lines[number - 1] = text[:start] + self.new + text[start + len(self.old) :]
        return "".join(lines)


def all_faults(file: str, source: str) -> list[Fault]:
    """Return all single faults of a source file, in the order of the source.

    Operators and comparisons are replaced by the most similar one; signs, `not` and `abs` are dropped; integers are
    increased by one; real constants are multiplied by 1.5; truth values and conditions are reversed; min and max, any
    and all, sum and mean are exchanged. Docstrings, annotations, assertions, messages (f-strings and arguments of
    raised errors) and imports have no faults.
    """
    lines, seen, faults = source.encode().splitlines(), Counter(), []  # columns of syntax trees are bytes
    where = {}
    for number, function, text in _lines(source):
        where[number] = (function, text, seen[function, text])
        seen[function, text] += 1
    for line, column, old, new in sorted(set(_changes(ast.parse(source), lines))):
        function, text, nth = where[line]
        column = len(lines[line - 1][:column].decode().lstrip())
        faults.append(Fault(file, function, text, nth, column, old, new))
    return faults


def sample(root: Path, *, per_folder: int, seed: int, folders: Sequence[str] = FOLDERS) -> list[Fault]:
    """Draw a number of faults at random from each folder of src/, at most one per line."""
    generator, chosen = random.Random(seed), []
    for folder in folders:
        faults = [
            fault
            for path in sorted((root / "src" / folder).rglob("*.py"))
            for fault in all_faults(path.relative_to(root).as_posix(), path.read_text())
        ]
        generator.shuffle(faults)
        one_per_line = {(fault.file, fault.function, fault.line, fault.nth): fault for fault in reversed(faults)}
        candidates = [fault for fault in faults if fault in one_per_line.values()]
        chosen += sorted(candidates[:per_folder], key=lambda fault: (fault.file, fault.function))
    return chosen


def _lines(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield for each line its number, the function or class around it, and its text without indentation."""
    function = dict.fromkeys(range(1, source.count("\n") + 2), "")

    def visit(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{name}.{child.name}".lstrip(".")
                for number in range(child.lineno, (child.end_lineno or child.lineno) + 1):
                    function[number] = inner
            visit(child, inner)

    visit(ast.parse(source), "")
    for number, text in enumerate(source.splitlines(), 1):
        yield number, function[number], text.strip()


def _changes(tree: ast.AST, lines: list[bytes]) -> Iterator[tuple[int, int, str, str]]:
    for node in _computing(tree):
        match node:
            case ast.BinOp(left, op, right) if type(op) in OPERATORS:
                yield from _between(left, right, op, lines)
            case ast.AugAssign(target, op, value) if type(op) in OPERATORS:
                yield from _between(target, value, op, lines, "=")
            case ast.BoolOp(op, values):
                for left, right in pairwise(values):
                    yield from _between(left, right, op, lines)
            case ast.Compare(left, ops, comparators):
                for one, op, other in zip([left, *comparators], ops, comparators, strict=False):
                    yield from _between(one, other, op, lines)
            case ast.UnaryOp(ast.USub()):
                yield node.lineno, node.col_offset, "-", ""
            case ast.UnaryOp(ast.Not()):
                yield node.lineno, node.col_offset, "not ", ""
            case ast.Constant(bool() as value):
                yield node.lineno, node.col_offset, str(value), str(not value)
            case ast.Constant(int() | float() as value):
                text = lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode()
                changed = repr(value + 1) if isinstance(value, int) else repr(value * FACTOR if value else 0.5)
                yield node.lineno, node.col_offset, text, changed
            case ast.If(test) | ast.IfExp(test=test) if not isinstance(test, ast.BoolOp | ast.Compare | ast.UnaryOp):
                text = lines[test.lineno - 1][test.col_offset : test.end_col_offset].decode()
                if test.lineno == test.end_lineno:
                    yield test.lineno, test.col_offset, text, f"(not ({text}))"
            case ast.Call(ast.Name(id=name)) if name in CALLS and name not in ("mean", "sum"):
                yield node.lineno, node.col_offset, name, CALLS[name]
            case ast.Call(ast.Attribute(value, attr=name)) if CALLS.get(name):
                end = (value.end_lineno, value.end_col_offset)
                if end[0] and end[1] is not None and lines[end[0] - 1][end[1] :].startswith(f".{name}(".encode()):
                    yield end[0], end[1], f".{name}", f".{CALLS[name]}"


def _computing(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the syntax nodes that may have faults."""
    if isinstance(node, ast.Assert | ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    yield node
    for name, field in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_params", "bases"):
            continue
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST):
                yield from _computing(child)


def _between(left: ast.AST, right: ast.AST, op: ast.AST, lines: list[bytes], suffix: str = "") -> Iterator[
    tuple[int, int, str, str]
]:  # fmt: skip
    """Yield the replacement of the operator between two operands, which may be on different lines."""
    old, new = (symbol + suffix for symbol in OPERATORS[type(op)])
    for number in range(left.end_lineno, right.lineno + 1):
        begin = left.end_col_offset if number == left.end_lineno else 0
        end = right.col_offset if number == right.lineno else len(lines[number - 1])
        at = lines[number - 1][begin:end].find(old.encode())
        if at >= 0:
            yield number, begin + at, old, new
            return
