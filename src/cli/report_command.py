"""Write one self-contained HTML page about a run, a sweep, a study or a diagnosis; open it with any browser."""

from collections.abc import Sequence
from pathlib import Path

from start_training.cli.arguments import parse
from start_training.cli.help import command_parser
from start_training.cli.trust_option import add_trust, import_from_here


def main(words: Sequence[str]) -> None:
    parser = command_parser("report", __doc__)
    parser.add_argument(
        "directory",
        type=Path,
        metavar="PATH",
        help="directory of a run, a sweep, a search or a recipe, or the file out=… of a diagnosis",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the page; default: PATH/report.html, or PATH.html of a diagnosis"
    )
    parser.add_argument(
        "--watch",
        type=float,
        metavar="SECONDS",
        help="write the page again every few seconds, until interrupted, as while a sweep runs",
    )
    parser.add_argument(
        "--wandb",
        action="store_true",
        help="also log the page to W&B as an artifact; offline unless WANDB_MODE=online",
    )
    add_trust(parser)
    arguments = parse(parser, words)

    from start_training.reports.pages.report import log_report, watch, write_report  # late: --help needs no torch
    from start_training.reports.run_report import relative
    from start_training.reports.terminal import print_lines
    from start_training.settings import positive_number

    seconds = None if arguments.watch is None else positive_number("--watch", arguments.watch)
    import_from_here(arguments.trust)
    page = write_report(arguments.directory, arguments.output, trust=arguments.trust)
    print_lines(f"page: {relative(page.resolve())}")
    if arguments.wandb:
        log_report(arguments.directory, page)
    if seconds is not None:
        watch(arguments.directory, seconds, arguments.output, trust=arguments.trust)
