"""Run a small experiment of a paper, and check by machine that it shows what its file states as expected.

Without arguments, list what can be reproduced, with the minutes on two CPU cores. A repeated command continues. Exit
status: 0 the expectation holds, 3 it does not, 4 the runs do not measure all of it, 1 a mistake or a failed run.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from rich.table import Table

from start_training.cli.arguments import parse
from start_training.cli.commands import run_command
from start_training.cli.help import CONF, command_parser
from start_training.reports.terminal import print_lines, print_table

if TYPE_CHECKING:
    from start_training.analysis.expectations.quantity import Quantity
    from start_training.config.experiments import Experiment


def main(words: Sequence[str]) -> None:
    parser = command_parser("reproduce", __doc__)
    parser.add_argument(
        "experiment", nargs="?", metavar="EXPERIMENT", help="such as hanin_rolnick/figure_1b; none: list all of them"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="passed on to the command that runs the experiment"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="number of seeds, instead of the experiment's")
    arguments = parse(parser, words, intermixed=True)

    from start_training.config.experiments import experiment_named, experiments  # late: as cheap as --help

    if arguments.experiment is None:
        print_table(experiments_table(experiments().values()))
        return
    experiment = experiment_named(arguments.experiment.removeprefix("experiment="))
    status = reproduce(experiment, [*experiment.words, *seeds_of(experiment, arguments.seeds), *arguments.overrides])
    if status:
        sys.exit(status)


def reproduce(experiment: "Experiment", words: Sequence[str]) -> int:
    """Run an experiment with overrides, check its expectation, print the result and write it to the sweep's directory.

    Returns:
        The exit status: 0 the expectation holds, 3 it does not, 4 not all of it can be measured.
    """
    from start_training.config.composed import without_hydra
    from start_training.studies.reproduction import NOT_MEASURED, Reproduction, check_of, table_of_runs

    config = composed(experiment.script, words)
    check = check_of(experiment, without_hydra(config))
    if status := run_command(experiment.script, words):
        return status
    directory = Path(config.hydra.sweep.dir)
    grid = dict(config.hydra.sweeper.params or {})
    table = table_of_runs(experiment, directory, grid, words)
    try:
        result = Reproduction(experiment, check(table))
    except (ValueError, LookupError) as error:  # too few configurations for a correlation, a fit or a difference
        print_lines(f"the expectation of {experiment.name} cannot be judged by these runs: {error}")
        return NOT_MEASURED
    print_table(quantities_table(experiment.name, result.quantities))
    print_lines(f"results: {result.write(directory)}")
    for quantity in [*result.failing, *result.missing]:
        text = f"is {quantity.value:.4g}" if quantity.measured else "is not measured by these runs"
        print_lines(f"{quantity.name} {text}; expected {quantity.allowed}")
    verdict = {0: "holds", 3: "does not hold", 4: "cannot be judged: the runs do not measure all of it"}
    print_lines(f"the expectation of {experiment.name} {verdict[result.status]}")
    return result.status


def composed(script: str, words: Sequence[str]) -> DictConfig:
    """Compose the config of the first job of a command, including the node `hydra`."""
    overrides = OverridesParser.create().parse_overrides(list(words))
    first = [
        f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
        if override.is_sweep_override()
        else str(override.input_line)
        for override in overrides
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(script, first, return_hydra_config=True)


def seeds_of(experiment: "Experiment", count: int | None) -> list[str]:
    """Return the override that --seeds stands for.

    Raises:
        ValueError: the count is not at least 1, or the experiment has no seeds.
    """
    from start_training.settings import positive_integer

    if count is None:
        return []
    if not experiment.seeded:
        raise ValueError(f"--seeds = {count}: {experiment.name} samples nets instead; type nets=… for their number")
    return [f"seed={','.join(map(str, range(positive_integer('--seeds', count))))}"]


def experiments_table(experiments: Iterable["Experiment"]) -> Table:
    """Build the table of what can be reproduced; it is whole at 80 columns."""
    table = Table("experiment", title="start-training reproduce EXPERIMENT", title_justify="left")
    table.add_column("minutes", justify="right")
    table.add_column("claim")
    for experiment in experiments:
        table.add_row(experiment.name, f"{experiment.minutes:g}", experiment.claim)
    return table


def quantities_table(name: str, quantities: Iterable["Quantity"]) -> Table:
    """Build the table of measured quantities with the intervals in which they are expected."""
    table = Table("quantity", title=f"Expectation of {name}", title_justify="left")
    for heading in ("measured", "expected", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for quantity in quantities:
        value = f"{quantity.value:.4g}" if quantity.measured else "—"
        table.add_row(
            quantity.name, value, quantity.allowed, "✓" if quantity.holds else "✗" if quantity.measured else "?"
        )
    return table
