"""Print on the terminal so that nothing is lost at 80 columns: tables, Markdown, and lines of text."""

import os
import re
import sys
import textwrap
from itertools import groupby
from typing import ClassVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, TableElement
from rich.measure import Measurement
from rich.table import Table

PAGE = 110  # columns of wide text where neither a terminal nor COLUMNS sets a width: it fits a printed page
WIDEST = 10_000  # columns, more than any table has
_ENDS_WITH_CODE = re.compile(r"([^`\n]*)`([^`\n]+)`")  # a block of Markdown with nothing else behind its code


def wide_console() -> Console:
    """Return a console of the width of the terminal or of COLUMNS, and of `PAGE` columns if there is neither."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PAGE)


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table. If it is too wide for the terminal, its lines are left out, and then words are folded.

    Columns of numbers have to be declared with `no_wrap=True`; they are the last to become narrower.

    Args:
        table: the table, which may be changed.
        console: where to print; None: stdout, in the width of the terminal, of COLUMNS, or else in 80 columns.
    """
    console = console or Console()
    _fold(table)
    table.caption_justify = "left"
    if Measurement.get(console, console.options.update(width=WIDEST), table).maximum > console.width:
        table.box = table.box and box.SIMPLE_HEAD
        table.padding, table.pad_edge, table.show_edge = (0, 1, 0, 0), False, False
    console.print(table)


def print_markdown(text: str) -> None:
    """Print Markdown; a block that ends with code, as `Next: `a command``, is printed as one line to copy."""
    for whole, blocks in groupby(text.strip().split("\n\n"), key=_ENDS_WITH_CODE.fullmatch):
        if whole:
            print_whole(f"{whole[1]}{whole[2]}")
        else:
            Console().print(_Markdown("\n\n".join(blocks)))


def print_lines(*lines: str) -> None:
    """Print lines of any content as they are, without colours or markup.

    On a terminal long lines break at spaces, so that no word is broken; in a file or pipe a line stays one.
    """
    console = Console()
    wrapper = textwrap.TextWrapper(
        console.width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    for line in lines:
        print_whole("\n".join(map(wrapper.fill, line.splitlines())) if console.is_terminal else line)


def print_whole(line: str) -> None:
    """Print a line that is to be copied, such as a command, without a line break in it."""
    Console().print(line, soft_wrap=True, highlight=False, markup=False)


def _fold(table: Table) -> None:
    for column in table.columns:
        column.overflow = "fold"


class _FoldingTable(TableElement):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            assert isinstance(table, Table)
            _fold(table)
            yield table


class _Markdown(Markdown):
    elements: ClassVar = {**Markdown.elements, "table_open": _FoldingTable}
