"""Collect the runs of a sweep and draw its figure."""

from collections.abc import Sequence
from pathlib import Path

from start_training.cli.arguments import parse
from start_training.cli.help import command_parser
from start_training.cli.trust_option import add_trust, import_from_here


def main(words: Sequence[str]) -> None:
    parser = command_parser("draw", __doc__)
    parser.add_argument(
        "figure",
        metavar="FIGURE",
        help="name of an experiment, such as figure_1b, to draw its figure; or a figure that suits any sweep: start, "
        "range_test, phase or phase_trajectory; or module.function, a function of your own in this directory",
    )
    parser.add_argument("directory", type=Path, metavar="SWEEP_DIRECTORY", help="hydra.sweep.dir of a multirun")
    parser.add_argument("--by", metavar="KEY", help="draw one curve per value of this setting, such as initializer")
    parser.add_argument("--x", metavar="KEY", help="x-axis: depth, beta, log_growth or any numeric column of the table")
    parser.add_argument(
        "--without",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="exclude the runs with this value; may be repeated",
    )
    parser.add_argument(
        "--wandb", action="store_true", help="also log the figure to W&B; offline unless WANDB_MODE=online"
    )
    add_trust(parser)
    arguments = parse(parser, words)

    from start_training.reports.sweep_figure import (  # imported after parsing: --help needs no torch
        draw_sweep,
        wandb_node,
    )

    own = [arguments.figure.partition(".")[0]] if "." in arguments.figure else []  # trusted, since it is typed
    import_from_here([*arguments.trust, *own])
    logger = wandb_node() if arguments.wandb else None
    options = {"by": arguments.by, "x": arguments.x, "without": arguments.without, "trust": arguments.trust}
    draw_sweep(arguments.directory, arguments.figure, **options, logger=logger)
