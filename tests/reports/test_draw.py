"""Drawing of sweeps, also unfinished or partly failed ones: files, printed results, missing runs, and mistakes."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from start_training.config.errors import error_message
from start_training.figures import TABLES
from start_training.reports import sweep_figure as module
from start_training.reports import sweep_tables
from start_training.reports.range_tests import next_command
from start_training.reports.sweep_figure import draw_sweep
from start_training.runs.sweep_jobs import add_jobs
from tests.analysis.test_sweep_curves import leave_test
from tests.analysis.test_sweep_table import MAXIMUM, config_of, leave_run
from tests.wandb_records import logged, records

RATES = {"he_normal": 0.01, "lecun_normal": -0.7}
SCALING, SCALES = (
    "start_training.initializers.variance_scaling.VarianceScaling",
    {"he_normal": 2.0, "lecun_normal": 1.0},
)
FILES = [f"figure_1b.{kind}" for kind in ("png", "pdf", "csv", "parquet")]


@pytest.fixture(scope="module")
def whole_sweep(tmp_path_factory) -> Path:
    """Two initializers, three depths and two seeds, with completed and diverged runs."""
    sweep, jobs = tmp_path_factory.mktemp("whole") / "sweep", {}
    for initializer, rate in RATES.items():
        for depth in (3, 6, 9):
            for seed in (0, 1):
                late = initializer == "lecun_normal" and depth == 9
                status = "diverged" if late and seed else "completed"
                epoch = None if late else depth + seed + (initializer == "lecun_normal") * 7
                jobs |= leave(sweep, initializer, depth, seed, status=status, epoch=epoch, growth=rate)
    add_jobs(sweep, jobs)
    return sweep


def leave(sweep: Path, initializer: str, depth: int, seed: int, **became: Any) -> dict[str, tuple[str, ...]]:
    overrides = (f"initializer={initializer}", f"depth={depth}", f"seed={seed}")
    config = config_of(depth, depth, seed) | {"initializer": {"_target_": SCALING, "scale": SCALES[initializer]}}
    leave_run(sweep, "_".join(overrides), config, overrides=overrides, **became)
    return {"_".join(overrides): overrides}


@pytest.fixture
def sweep(whole_sweep, tmp_path) -> Path:
    return shutil.copytree(whole_sweep, tmp_path / "sweep")


@pytest.fixture
def tests(tmp_path) -> Path:
    """A sweep of range tests with three weight decays and two seeds."""
    for decay, turn, floor in ((0.0, 0.4, 0.5), (0.001, 0.2, 0.7), (0.1, 0.1, 1.5)):
        for seed in (0, 1):
            shape = {"turn": turn * 1.5**seed, "floor": floor + seed / 10}
            leave_test(tmp_path / "tests", seed, decay, **shape, more=("model=lenet",))
    return tmp_path / "tests"


def drawn_files(sweep: Path) -> list[bytes]:
    return [(sweep / name).read_bytes() for name in FILES]


def answer(tests: Path, name: str = "range_test") -> dict:
    return json.loads((tests / f"{name}.json").read_text())


@pytest.mark.slow
def test_a_finished_sweep_is_drawn_described_and_sent_to_wandb(sweep, shell, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    status, output, errors = shell("draw", "figure_1b", str(sweep), "--wandb")
    assert (status, errors) == (0, [])
    table = pd.read_parquet(sweep / "figure_1b.parquet")
    never = table[~table["started"].astype(bool)]
    assert len(table) == 12
    assert never["observed_epoch"].tolist() == [MAXIMUM, MAXIMUM]
    assert never["status"].tolist() == ["completed", "diverged"]
    assert len([line for line in output if "rank correlation" in line and "12 runs, 2 of them never" in line]) == 1
    assert output[-1] == "figure: " + ", ".join(f"sweep/{name}" for name in FILES)
    found = records(sweep)
    [run] = [record.run for record in found if record.WhichOneof("record_type") == "run"][:1]
    assert (run.run_group, run.display_name) == ("sweep", "figure_1b")
    assert {"figure_1b", "runs"} <= {key.split(".")[0] for key in logged(found)}
    before = drawn_files(sweep)
    draw_sweep(sweep, "hanin_rolnick/figure_1b")  # by the name of the experiment; the files of W&B are not runs
    assert drawn_files(sweep) == before


def test_a_value_left_out_may_be_typed_as_in_the_command_of_the_sweep():
    table = pd.DataFrame({"optimizer.weight_decay": [0.0, 1e-4], "initializer": ["he_normal", "0"]})
    for typed in ("0", "0.0", "0e-3"):
        assert sweep_tables._leave_out(table, [f"optimizer.weight_decay={typed}"]).index.tolist() == [1]
    assert sweep_tables._leave_out(table, ["initializer=he_normal"]).index.tolist() == [1]


def test_no_file_is_ever_partial_or_overwritten_by_a_figure_of_fewer_runs(sweep, shell, monkeypatch):
    draw_sweep(sweep, "figure_1b")
    before = drawn_files(sweep)
    status, output, _ = shell("draw", "figure_1b", str(sweep), "--without", "initializer=lecun_normal")
    assert status == 0 and any("6 runs, 0 of them never" in line for line in output)
    left = pd.read_parquet(sweep / "figure_1b-without-lecun_normal.parquet")
    assert set(left["initializer"]) == {"he_normal"}
    assert drawn_files(sweep) == before

    def cut_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", cut_off)
    leave(sweep, "he_normal", 3, 1, status=None)
    with pytest.raises(KeyboardInterrupt):
        draw_sweep(sweep, "figure_1b")
    assert drawn_files(sweep) == before


def test_a_sweep_in_progress_is_drawn_and_missing_runs_are_listed(sweep, shell):
    for depth, seed, status in ((3, 1, None), (6, 0, "failed"), (9, 0, "interrupted")):
        leave(sweep, "he_normal", depth, seed, status=status, records_start=status != "failed")
    new = {f"new{seed}": ("initializer=he_normal", "depth=12", f"seed={seed}") for seed in range(9)}
    add_jobs(sweep, new)
    status, output, errors = shell("draw", "figure_1b", str(sweep))
    assert (status, errors) == (0, [])
    assert [line for line in output if line.startswith(("missing", "fewer"))] == [
        "missing: initializer=he_normal depth=3 seed=1: killed",
        "missing: initializer=he_normal depth=6 seed=0: failed",
        "missing: initializer=he_normal depth=9 seed=0: interrupted",
        *(f"missing: initializer=he_normal depth=12 seed={seed}: absent" for seed in range(7)),
        "missing: and 2 more",  # ten are listed
        *(f"fewer than 2 seeds: he_normal, depth {depth}: 1" for depth in (3, 6, 9)),
    ]
    [completed] = [line.split("│") for line in output if "completed" in line]
    assert [cell.strip() for cell in completed[1:-1]] == ["completed", "8", "7", "1", "0"]
    assert len(pd.read_csv(sweep / "figure_1b.csv")) == 12 + 9


def test_any_sweep_is_drawn_by_the_given_columns(sweep, capsys):
    warning = "some points belong to several configurations: choose another --by or --x to separate them"
    files = draw_sweep(sweep, "start", by="initializer", x="log_growth")
    assert [file.name for file in files] == [f"start.{kind}" for kind in ("png", "pdf", "csv", "parquet")]
    assert warning not in capsys.readouterr().out
    files = draw_sweep(sweep, {"_target_": module.TARGET, "x": "beta"}, name="mine")
    assert files[0].name == "mine.png"
    assert warning in capsys.readouterr().out


MISTAKES = """
figure_9 sweep -> figure = figure_9: no such figure of training runs; choose one of cifar10_weight_decay,
figure_1a sweep -> figure = figure_1a: drawn by the command simulate
range_test tested x=depth -> --x = depth: the figure range_test has no such setting; must be left out
start nowhere -> SWEEP_DIRECTORY = nowhere: no such directory
start . -> SWEEP_DIRECTORY = .: holds no runs
start begun -> none of its jobs (1 absent, 1 killed) has ended yet
start sweep by=colour -> --by = colour: the sweep's table has no such column; choose one of directory
start sweep x=initializer -> --x = initializer: the sweep's table has no such numeric column; choose one of
start sweep without=depth=4 -> --without = depth=4: no run has this value of depth; choose one of
"""


def test_a_mistake_is_one_line_and_leaves_no_file(sweep, shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leave_test(tmp_path / "tested")
    leave_run(tmp_path / "begun", "a", config_of(), status=None)
    add_jobs(tmp_path / "begun", {"b": ("seed=1",)})
    before = sorted(tmp_path.rglob("*"))
    for line in MISTAKES.strip().splitlines():
        (figure, directory, *words), message = line.split(" -> ")[0].split(), line.split(" -> ")[1]
        options = {key: [value] if key == "without" else value for key, _, value in (w.partition("=") for w in words)}
        with pytest.raises(ValueError) as raised:
            draw_sweep(Path(directory), figure, **options)
        assert message in error_message(raised.value)
    status, output, errors = shell("draw", "start", "sweep", "--without", "depth=4", "--by", "seed")
    assert (status, output, len(errors)) == (1, [], 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_range_tests_are_drawn_and_suggest_the_next_command(tests, shell, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    status, output, errors = shell("draw", "range_test", str(tests), "--wandb")
    assert (status, errors) == (0, [])
    files = [f"range_test.{kind}" for kind in ("png", "pdf", "csv", "parquet", "json")]
    assert output[-1] == "figure: " + ", ".join(f"tests/{name}" for name in files)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output if line.startswith("│")]
    assert rows[0] == ["0", "2", "0.49", "0.4–0.6", "0.58", "0.049", "0.16"]
    assert "largest rate: weight_decay 0, max_lr 0.49, highest validation accuracy 51.9%" in output
    assert "lowest validation loss: weight_decay 0, loss 0.656" in output
    next_one = "uv run python scripts/train.py model=lenet optimizer.weight_decay=0 optimizer.lr=0.49"
    assert output[-2] == f"next: {next_one} schedule=one_cycle"
    results = answer(tests)
    assert results["command"] == results["configurations"][0]["command"] == f"{next_one} schedule=one_cycle"
    assert results["largest_rate"] == results["lowest_loss"] == {"option": "0", "like": []}
    assert [row["max_lr"] for row in results["configurations"]] == pytest.approx([0.4899, 0.2449, 0.1225], rel=1e-3)
    mirrored = logged(records(tests))
    assert {"range_test", "curves", "suggestions"} <= {key.split(".")[0] for key in mirrored}
    assert mirrored["suggestions.nrows"] == 3


def test_a_users_figure_is_drawn_from_the_table_that_it_declares_or_from_the_runs(tmp_path, monkeypatch):
    start = "from start_training.figures import draws\n"
    for name, line in (("mine", '@draws("phase")'), ("plain", ""), ("wrong", '@draws("layers")')):
        (tmp_path / f"{name}_figure.py").write_text(f"{start}{line}\ndef draw(table): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    kinds = [module.table_of({"_target_": f"{name}_figure.draw"}).kind for name in ("mine", "plain")]
    assert kinds == ["phase", "runs"]
    message = r"figure\._target_ = 'wrong_figure.draw': .*table = 'layers': must be one of epochs, growth, phase"
    with pytest.raises(ValueError, match=message):
        module.table_of({"_target_": "wrong_figure.draw"})
    assert set(module.TABLES) == set(TABLES)


def test_draw_accepts_a_function_of_the_users_own(sweep, shell, tmp_path, monkeypatch):
    (tmp_path / "my_figures.py").write_text(
        "from matplotlib.figure import Figure\n\ndef losses(table, *, title=''):\n    figure = Figure()\n"
        "    figure.subplots().plot(table['test/accuracy'])\n    return figure\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    status, _, errors = shell("draw", "my_figures.losses", str(sweep))
    assert (status, errors) == (0, []) and (sweep / "losses.png").exists()
    status, _, [line] = shell("draw", "my_figures.lasses", str(sweep))
    assert status == 1 and line.startswith("error: figure._target_ = 'my_figures.lasses': cannot be imported")


def test_the_next_command_is_quoted_and_omits_settings_of_the_range_test():
    omitted = "callbacks.range_test.steps=50 optimizer.lr=0.3 logger=csv seed=3 schedule=cosine"
    command = next_command({"max_lr": 0.987, "overrides": f"model.widths=[30,10] {omitted} +a='x y'"})
    assert shlex.split(command)[-5:-1] == ["model.widths=[30,10]", "+a='x", "y'", "optimizer.lr=0.99"]
    command = next_command({"max_lr": 0.9, "overrides": "experiment=smith/rates size=small optimizer.weight_decay=0.2"})
    assert command == "optimizer.weight_decay=0.2 optimizer.lr=0.9 schedule=one_cycle"
    assert next_command({"max_lr": np.nan, "overrides": ""}) is None
