"""What commands print fits in 80 columns: each number is whole, no line is longer, and no word is cut off."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.table import Table

import start_training
from start_training.analysis.expectations import EXPECTATIONS
from start_training.analysis.phase_slopes import phase_slopes
from start_training.analysis.suggestions import suggestions
from start_training.cli.reproduce_command import experiments_table, quantities_table
from start_training.config.experiments import experiments
from start_training.figures.labels import LABELS
from start_training.launchers import replica_report, sweep_report
from start_training.launchers.replica_plan import PlannedGroup
from start_training.reports import phase_runs, range_tests, run_report
from start_training.reports.sweep_tables import number_table
from start_training.reports.terminal import print_lines, print_markdown, print_table
from start_training.runs.job import Job
from start_training.studies import picture, search
from start_training.studies.phase_diagram.phase_diagram import transitions_table
from tests.analysis import made_experiments as made

LONG = "features.denseblock4.denselayer16.0.activation"  # as long as names of layers are in libraries of nets
OPTION = "weight_decay 0.0001, He normal, truncated"
SUPPOSES = ("wide limit", "uniform brightness")
NUMBERS = -12345.6789


def lengths() -> Table:
    names, values = ["input", *[LONG] * 11], np.full(12, 1.234e-123)
    recorded = run_report.RecordedLengths(
        pd.DataFrame(), None, values, None, names, values, values, values, np.log(values), SUPPOSES, 10**7
    )
    return run_report.lengths_table(recorded)


def layers() -> Table:
    columns = ("log_mean", "log_mean_error", "log_mean_theory", "median", "low", "high")
    names = ["input", *(f"residual_modules.{layer}.activation" for layer in range(1, 100))]
    table = pd.DataFrame({"layer": range(100), "name": names, "dead": 1.0, **dict.fromkeys(columns, -123.45)})
    return run_report.layers_table(table, ["wide limit"])


def pictures() -> Table:
    options = ["he_truncated_normal", "torch_default", "orthogonal", "glorot_uniform", "he_normal_x2"][: picture.SHOWN]
    rows = [{"layer": layer, "initializer": name, "log_length": -280.0, "log_mean_theory": 280.0}
            for layer in range(101) for name in options]  # fmt: skip
    return picture.lengths_table(pd.DataFrame(rows), SUPPOSES)


def options() -> Table:
    names = ("max_lr", "max_lr_low", "max_lr_high", "range_test_val_loss", "seconds")
    errors = [f"{name}{end}" for name in ("val/loss", "val/accuracy", "test/accuracy") for end in ("", " s.e.")]
    row = {"option": "0.95–0.85", "epochs": 1000, **dict.fromkeys(names, 0.00012345), **dict.fromkeys(errors, 0.98765)}
    return search.options_table(pd.DataFrame([row]), "0.95–0.85")


def rates() -> list[Table]:
    drawn = made.largest_rate()
    tests = suggestions(drawn.assign(option=OPTION + drawn["depth"].astype(str)), by="option")
    return [range_tests._rates_table(tests, "weight_decay"), range_tests._validation_table(tests, "initializer")]


def phases() -> list[Table]:
    fits = phase_slopes(made.scaling())
    table = phase_runs.by_configuration(fits.assign(option=OPTION))
    return [phase_runs._slopes_table(table, "the last 50% of the ordered phase"), phase_runs._ends_table(table)]


def plan() -> Table:
    words = [f"{key}={value}" for key in ("initializer", "optimizer.weight_decay", "seed") for value in "ab"]
    jobs = [Job({"model": {"_target_": "a.FullyConnected"}}, Path(), tuple(words[n::2])) for n in range(2)]
    return replica_report._table([PlannedGroup(jobs, (0, 0, 0), 123_456_789, 10**9, 10)])


TABLES = {
    "train: lengths": lengths,
    "train, evaluate: test": lambda: run_report.metrics_table({f"test/{LONG}": 0.5, "test/loss": 123.4}),
    "train -m": lambda: sweep_report._table(Counter(completed=10_000, interrupted=3)),
    "train -m hydra/launcher=replicas": plan,
    "simulate": layers,
    "picture": pictures,
    "search": options,
    "range_test": rates,
    "draw phase": phases,
    "draw two_papers": lambda: number_table(
        "Nats per layer", ("", "step", "log χ", "growth", "accuracy"),
        [(f"leaky ReLU, {label}", "46000", "+12.34 ± 0.56", "−12.34 ± 0.56", "98.7%") for label in LABELS.values()],
    ),
    "phase_diagram": lambda: transitions_table(
        {"transitions": [{"N": 3_000, "inverse_J": 0.83, "error": 0.012}]}
    ),
    "reproduce": lambda: experiments_table(experiments().values()),
    **{f"reproduce {name}": lambda name=name: quantities_table(
        name, EXPECTATIONS[name].check(getattr(made, name.partition("/")[2])())) for name in EXPECTATIONS},
}  # fmt: skip


@pytest.fixture
def shown(monkeypatch, capsys):
    """Call a function that prints in 80 columns; return its lines."""
    monkeypatch.setenv("COLUMNS", "80")

    def lines(function, *arguments):
        function(*arguments)
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.mark.parametrize("command", TABLES)
def test_each_table_is_whole_at_80_columns(command, shown):
    tables = TABLES[command]()
    for table in tables if isinstance(tables, list) else [tables]:
        cells = [cell for column in table.columns for cell in map(str, column.cells)]
        lines = shown(print_table, table)
        assert max(map(len, lines)) <= 80
        printed = " ".join(re.split(r"[\s│┃]+", "\n".join(lines)))
        assert all(part in printed for cell in cells for part in cell.split() if len(part) <= 15), printed
        assert printed.count("…") == "".join(cells).count("…")


def test_a_table_that_fits_keeps_its_lines(shown):
    assert shown(print_table, Table("a", "b"))[0].startswith("┏")


def test_a_table_of_markdown_folds_words_and_a_command_stays_one_line(shown):
    command = "start-training train " + " ".join(f"key_{number}=value" for number in range(20))
    text = f"# Title\n\n| a | b |\n|---|---|\n| {'x' * 70}y | {'z' * 30}w |\n\nWords.\n\nNext: `{command}`\n"
    lines = shown(print_markdown, text)
    assert lines[-1] == f"Next: {command}" and "…" not in "".join(lines)
    assert max(map(len, lines[:-1])) <= 80 and {*"xyzw"} <= {*"".join(lines)}


def test_a_line_breaks_at_spaces_on_a_terminal_and_never_in_a_pipe(shown, monkeypatch):
    line = "model.depth=3 [bold]not markup[/bold] " * 9
    assert shown(print_lines, line) == [line]
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any output for a terminal
    lines = shown(print_lines, line)
    assert max(map(len, lines)) <= 80 and " ".join(lines).split() == line.split()


def test_no_other_module_prints_tables():
    """`print_table` holds the law: what goes around it would be cut off at 80 columns."""
    root = Path(start_training.__file__).parent
    files = [file for file in root.rglob("*.py") if re.search(r"\bConsole\((?!stderr)", file.read_text())]
    assert {str(file.relative_to(root)) for file in files} == {"reports/terminal.py", "diagnosis/diagnosis.py"}
