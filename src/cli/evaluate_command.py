"""Rebuild the trained net of a run directory and test it again."""

from collections.abc import Sequence
from pathlib import Path

from start_training.cli.arguments import parse
from start_training.cli.help import command_parser
from start_training.cli.trust_option import add_trust, import_from_here


def main(words: Sequence[str]) -> None:
    parser = command_parser("evaluate", __doc__)
    parser.add_argument("directory", type=Path, metavar="RUN_DIRECTORY", help="hydra.run.dir of a training")
    parser.add_argument("--accelerator", default="cpu", help="cpu (default), gpu or auto")
    parser.add_argument(
        "--data-dir",
        help="directory of the data sets; default: $DATA_DIR, or if that is unset, the directory in the run's config",
    )
    add_trust(parser)
    arguments = parse(parser, words)

    from start_training.reports.run_report import metrics_table
    from start_training.reports.terminal import print_table
    from start_training.training.evaluate import evaluate

    import_from_here(arguments.trust)
    options = {"accelerator": arguments.accelerator, "data_dir": arguments.data_dir, "trust": arguments.trust}
    metrics = evaluate(arguments.directory, **options)
    if table := metrics_table(metrics):
        print_table(table)
