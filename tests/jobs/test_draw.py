"""Sweeps collected and drawn, in progress or partly failed too; what is missing is said, and mistakes in one line."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.draw import main
from src.jobs import draw as module
from src.jobs.command_line import one_line
from src.jobs.draw import draw_sweep
from src.jobs.range_tests import next_command
from src.runs.sweep import SweepJob, add_jobs
from tests.jobs.conftest import CONF
from tests.jobs.test_wandb import logged, records
from tests.runs.test_sweep_curves import POINTS, leave_test
from tests.runs.test_sweep_table import MAXIMUM, config_of, leave_run

SCRIPT = CONF.parent / "scripts" / "draw.py"
RATES = {"he_normal": 0.01, "lecun_normal": -0.7}
EXPERIMENTS = {
    "figure_1b": "script: train\nfigure:\n  _target_: {target}\n  by: initializer\n  relation: growth\n",
    "figure_3": "figure:\n  _target_: {target}\n  x: [depth, beta]\n  relation: beta\n",
    "figure_1a": "script: simulate\nfigure:\n  _target_: {target}\n",
    "broken": "script: train\nfigure:\n  _target_: {target}\n  colour: red\n",
    "undrawn": "script: train\n",
    "rates": "script: range_test\nfigure:\n  _target_: src.figures.range_test.draw_range_test\n  smooth: 3\n",
    "steps": "script: train\nfigure:\n  _target_: steps_figure.draw\n",
    "epochs": "script: train\nfigure:\n  _target_: epochs_figure.draw\n",
}
FILES = [f"figure_1b.{kind}" for kind in ("png", "pdf", "csv", "parquet")]


@pytest.fixture(scope="module")
def experiments(tmp_path_factory) -> Path:
    """conf/ with experiments of these tests."""
    conf = tmp_path_factory.mktemp("conf")
    (conf / "experiment" / "paper").mkdir(parents=True)
    for name, text in EXPERIMENTS.items():
        file = conf / "experiment" / "paper" / f"{name}.yaml"
        file.write_text("# @package _global_\n" + text.format(target=module.TARGET))
    (conf / "logger").symlink_to(CONF / "logger")
    return conf


@pytest.fixture(autouse=True)
def conf(experiments, monkeypatch) -> None:
    monkeypatch.setattr(module, "CONF", experiments)


@pytest.fixture(scope="module")
def whole_sweep(tmp_path_factory) -> Path:
    """Two initializers, three depths, two seeds: all that can become of a job."""
    sweep, jobs = tmp_path_factory.mktemp("whole") / "sweep", []
    for initializer, rate in RATES.items():
        for depth in (3, 6, 9):
            for seed in (0, 1):
                overrides = (f"initializer={initializer}", f"depth={depth}", f"seed={seed}")
                job = SweepJob("_".join(overrides), overrides)
                jobs.append(job)
                config = config_of(depth, depth, seed) | {"initializer": {"_target_": initializer}}
                late = initializer == "lecun_normal" and depth == 9
                leave_run(
                    sweep,
                    job.directory,
                    config,
                    overrides=overrides,
                    status="diverged" if late and seed else "completed",
                    epoch=None if late else depth + seed + (initializer == "lecun_normal") * 7,
                    growth=rate,
                )
    add_jobs(sweep, jobs)
    return sweep


@pytest.fixture
def sweep(whole_sweep, tmp_path) -> Path:
    return shutil.copytree(whole_sweep, tmp_path / "sweep")


@pytest.fixture
def figures(tmp_path_factory, monkeypatch) -> None:
    """Figures of someone's own, that say what they are drawn from."""
    folder = tmp_path_factory.mktemp("figures")
    for table in ("steps", "epochs"):
        text = f"from matplotlib.figure import Figure\nTABLE = '{table}'\n\ndef draw(table): return Figure()\n"
        (folder / f"{table}_figure.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def tests(tmp_path) -> Path:
    """Range tests: three weight decays, two seeds."""
    for decay, turn, floor in ((0.0, 0.4, 0.5), (0.001, 0.2, 0.7), (0.1, 0.1, 1.5)):
        for seed in (0, 1):
            leave_test(
                tmp_path / "tests", seed, decay, turn=turn * 1.5**seed, floor=floor + seed / 10, more=("model=lenet",)
            )
    return tmp_path / "tests"


@pytest.fixture
def nodes(monkeypatch) -> list[dict]:
    """The config of each figure that is drawn."""
    drawn: list[dict] = []
    original = module.build_partial
    monkeypatch.setattr(module, "build_partial", lambda node, group: (drawn.append(node), original(node, group))[1])
    return drawn


def cut(sweep: Path, initializer: str, depth: int, seed: int, *, status: str | None) -> None:
    """Make something else of a job."""
    overrides = (f"initializer={initializer}", f"depth={depth}", f"seed={seed}")
    config = config_of(depth, depth, seed) | {"initializer": {"_target_": initializer}}
    leave_run(sweep, "_".join(overrides), config, overrides=overrides, status=status, records_start=status != "failed")


def drawn_files(sweep: Path) -> dict[str, bytes]:
    return {name: (sweep / name).read_bytes() for name in FILES}


def test_a_finished_sweep_becomes_a_table_a_figure_and_a_relation_here_and_in_wandb(sweep, shell, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    status, output, errors = shell(SCRIPT, main, "figure_1b", str(sweep), "--wandb")
    assert (status, errors) == (0, [])
    assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == sorted([*FILES, "jobs.json"])
    table, written = pd.read_parquet(sweep / "figure_1b.parquet"), pd.read_csv(sweep / "figure_1b.csv")
    pd.testing.assert_frame_equal(table, written, check_dtype=False, check_column_type=False)
    never = table[~table["started"].astype(bool)]
    assert len(table) == 12
    assert never["name"].str.contains("lecun_normal depth=9").tolist() == [True, True]
    assert never["observed_epoch"].tolist() == [MAXIMUM, MAXIMUM]
    assert never["status"].tolist() == ["completed", "diverged"]
    assert not [line for line in output if line.startswith(("missing", "of fewer"))]
    assert len([line for line in output if "rank correlation" in line and "12 runs, 2 of them never" in line]) == 1
    assert output[-1] == "figure: " + ", ".join(f"sweep/{name}" for name in FILES)
    found = records(sweep)
    [run] = [record.run for record in found if record.WhichOneof("record_type") == "run"][:1]
    assert (run.project, run.run_group, run.display_name) == ("how-to-start-training", "sweep", "figure_1b")
    assert {"figure_1b", "runs"} <= {key.split(".")[0] for key in logged(found)}
    before = drawn_files(sweep)
    draw_sweep(sweep, "hanin_rolnick/figure_1b")  # as it is trained; what W&B left there is no run
    assert drawn_files(sweep) == before


def test_a_reader_never_meets_half_a_file_nor_the_figure_of_some_runs_under_the_name_of_all(sweep, shell, monkeypatch):
    draw_sweep(sweep, "figure_1b")
    before = drawn_files(sweep)
    status, output, _ = shell(SCRIPT, main, "figure_1b", str(sweep), "--without", "initializer=lecun_normal")
    assert status == 0
    assert any("6 runs, 0 of them never" in line for line in output)
    left = pd.read_parquet(sweep / "figure_1b-without-lecun_normal.parquet")
    assert set(left["initializer"]) == {"he_normal"}
    assert drawn_files(sweep) == before

    def cut_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", cut_off)
    cut(sweep, "he_normal", 3, 1, status=None)
    with pytest.raises(KeyboardInterrupt):
        draw_sweep(sweep, "figure_1b")
    assert drawn_files(sweep) == before


def test_a_sweep_in_progress_is_drawn_and_what_is_missing_is_named(sweep, shell):
    cut(sweep, "he_normal", 3, 1, status=None)
    cut(sweep, "he_normal", 6, 0, status="failed")
    cut(sweep, "he_normal", 9, 0, status="interrupted")
    new = [SweepJob(f"new{seed}", ("initializer=he_normal", "depth=12", f"seed={seed}")) for seed in range(9)]
    add_jobs(sweep, new)
    status, output, errors = shell(SCRIPT, main, "figure_1b", str(sweep))
    assert (status, errors) == (0, [])
    assert [line for line in output if line.startswith(("missing", "of fewer"))] == [
        "missing: initializer=he_normal depth=3 seed=1: killed",
        "missing: initializer=he_normal depth=6 seed=0: failed",
        "missing: initializer=he_normal depth=9 seed=0: interrupted",
        *(f"missing: initializer=he_normal depth=12 seed={seed}: absent" for seed in range(7)),
        "missing: and 2 more",  # ten are named
        *(f"of fewer than 2 seeds: he_normal, depth {depth}: 1" for depth in (3, 6, 9)),
    ]
    [completed] = [line.split("│")[1:-1] for line in output if "completed" in line]
    assert [cell.strip() for cell in completed] == ["completed", "8", "7", "1", "0"]
    assert len(pd.read_csv(sweep / "figure_1b.csv")) == 12 + 9
    (sweep / "jobs.json").unlink()  # as another sweeper's
    _, output, _ = shell(SCRIPT, main, "figure_1b", str(sweep))
    assert "missing: initializer=he_normal_depth=3_seed=1: killed" in output  # by its directory
    assert len(pd.read_csv(sweep / "figure_1b.csv")) == 12


def test_anyones_sweep_is_drawn_by_the_columns_asked_for(sweep, nodes, capsys):
    said = "several configurations lie at one point of a curve: another --by or --x tells them apart"
    files = draw_sweep(sweep, "start", by="initializer", x="log_growth")
    assert (nodes[-1]["by"], nodes[-1]["x"]) == ("initializer", "log_growth")
    assert [file.name for file in files] == [f"start.{kind}" for kind in ("png", "pdf", "csv", "parquet")]
    draw_sweep(sweep, "figure_3", by="initializer")
    assert nodes[-1] == {"_target_": module.TARGET, "x": ["depth", "beta"], "relation": "beta", "by": "initializer"}
    assert said not in capsys.readouterr().out
    files = draw_sweep(sweep, {"_target_": module.TARGET, "x": "beta"}, name="mine")
    assert files[0].name == "mine.png"
    assert all(file.stat().st_size for file in files)
    assert said in capsys.readouterr().out


MISTAKES = """
figure_9 sweep -> figure = figure_9: no such figure of training runs; there are broken, epochs, figure_1b
undrawn sweep -> figure = undrawn: no such figure of training runs
figure_1a sweep -> figure = figure_1a: scripts/simulate.py draws it
broken sweep -> figure.colour = 'red': no such setting; there are by, logarithmic, relation
steps sweep -> its TABLE = 'steps' is none of runs, range_test, phase,
epochs sweep -> SWEEP_DIRECTORY = sweep: no run has an epoch behind it (11 completed, 1 diverged)
range_test sweep -> no run has a range test behind it, which callbacks=range_test makes (11 completed
range_test tested by=colour -> --by = colour: no column of the sweep's table; there are direc
range_test tested x=depth -> figure.x = 'depth': no such setting; there are by, smooth, title
range_test tested without=seed=9 -> --without = seed=9: no run has this value of seed; there ar
start nowhere -> SWEEP_DIRECTORY = nowhere: no such directory
start . -> SWEEP_DIRECTORY = .: holds no runs
start without -> no run says when training started, which callbacks=start_of_training records (1 comp
start begun -> no run has ended yet (1 absent, 1 killed)
start sweep by=colour -> --by = colour: no column of the sweep's table; there are directory
start sweep x=initializer -> --x = initializer: no column of numbers of the sweep's table
start sweep without=colour=red -> --without = colour: no column of the sweep's table
start sweep without=depth=4 -> --without = depth=4: no run has this value of depth; there are
start sweep x=first_loss -> --x = first_loss: no column of numbers
"""


def test_a_mistake_is_one_line_and_leaves_no_file(sweep, shell, figures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leave_run(tmp_path / "without", "a", config_of(), records_start=False)
    leave_test(tmp_path / "tested")
    leave_run(tmp_path / "begun", "a", config_of(), status=None)
    add_jobs(tmp_path / "begun", [SweepJob("b", ("seed=1",))])
    before = sorted(tmp_path.rglob("*"))
    for line in MISTAKES.strip().splitlines():
        (figure, directory, *words), said = line.split(" -> ")[0].split(), line.split(" -> ")[1]
        options = {key: [value] if key == "without" else value for key, _, value in (w.partition("=") for w in words)}
        with pytest.raises(ValueError) as raised:
            draw_sweep(Path(directory), figure, **options)
        assert said in one_line(raised.value)
    status, output, [error] = shell(SCRIPT, main, "start", "sweep", "--without", "depth=4", "--by", "seed")
    assert (status, output) == (1, [])
    assert error.startswith("error: --without = depth=4: no run has this value of depth; there are")
    assert sorted(tmp_path.rglob("*")) == before


def answer(tests: Path, name: str = "range_test") -> dict:
    return json.loads((tests / f"{name}.json").read_text())


def test_range_tests_become_curves_a_figure_and_what_to_run_next(tests, shell, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    status, output, errors = shell(SCRIPT, main, "range_test", str(tests), "--wandb")
    assert (status, errors) == (0, [])
    files = [f"range_test.{kind}" for kind in ("png", "pdf", "csv", "parquet", "json")]
    assert output[-1] == "figure: " + ", ".join(f"tests/{name}" for name in files)
    assert sorted(path.name for path in tests.iterdir() if path.is_file()) == sorted([*files, "jobs.json"])
    assert (
        len(pd.read_parquet(tests / "range_test.parquet")) == len(pd.read_csv(tests / "range_test.csv")) == 6 * POINTS
    )
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output if line.startswith("│")]
    assert rows[0] == ["0", "2", "0.49", "0.4–0.6", "0.58", "0.049", "0.16"]
    assert [row[0] for row in rows] == ["0", "0.001", "0.1"] * 2
    assert "largest rate: weight_decay 0, max_lr 0.49, best accuracy 51.9%" in output
    assert "lowest validation loss: weight_decay 0, 0.656" in output
    next_one = (
        "uv run python scripts/train.py model=lenet optimizer.weight_decay=0 optimizer.lr=0.49 schedule=one_cycle"
    )
    assert output[-2] == f"next: {next_one}"
    found = answer(tests)
    assert found["command"] == found["configurations"][0]["command"] == next_one
    assert found["largest_rate"] == found["lowest_loss"] == {"option": "0", "like": []}
    assert [each["max_lr"] for each in found["configurations"]] == pytest.approx([0.4899, 0.2449, 0.1225], rel=1e-3)
    assert len(found["rules"]) == 6
    assert found["rules"][0] == "optimizer.weight_decay=0 seed=0: the lowest"
    mirrored = logged(records(tests))
    assert {"range_test", "curves", "suggestions"} <= {key.split(".")[0] for key in mirrored}
    assert mirrored["suggestions.nrows"] == 3


def test_settings_that_seeds_do_not_tell_apart_are_said_to_be_alike(tests, shell):
    for seed, turn in ((0, 0.5), (1, 0.55)):
        leave_test(tests, seed, 0.01, turn=turn, floor=0.55, more=("model=lenet",))
    output = shell(SCRIPT, main, "range_test", str(tests))[1]
    [rate] = [
        line for line in output if line.startswith("largest rate: weight_decay 0.01, max_lr 0.52, best accuracy ")
    ]
    assert rate.endswith("% (over seeds its range meets that of 0)")
    assert answer(tests)["largest_rate"] == {"option": "0.01", "like": ["0"]}
    alone = tests.parent / "alone"
    for decay in (0.0, 0.1):
        leave_test(alone, 0, decay, turn=0.5 + decay)
    output = shell(SCRIPT, main, "range_test", str(alone))[1]
    assert [line.endswith("% (one seed tells nothing apart)") for line in output if line.startswith("largest")] == [
        True
    ]


def test_tests_that_found_nothing_or_went_not_far_enough_stand_out(tests, shell):
    leave_test(tests, 0, 1.0, turn=np.nan)
    leave_test(tests, 0, 0.5, turn=3.0, turned=False)
    leave_test(tests, 2, 0.0, status=None, more=("model=lenet",))
    output = shell(SCRIPT, main, "range_test", str(tests))[1]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output]
    assert ["weight_decay 1", "0 of 1", *["—"] * 5] in cells
    assert ["weight_decay", "1", "≥ 3"] in [row[:3] for row in cells]  # 0.5, in two lines
    assert "missing: model=lenet optimizer.weight_decay=0 seed=2: killed" not in output  # its curve is drawn
    assert [each["command"] for each in answer(tests)["configurations"]].count(None) == 1


def test_what_has_not_ended_is_drawn_and_what_has_not_begun_is_missing(tmp_path, shell):
    leave_test(tmp_path / "tests", status=None)
    leave_test(tmp_path / "tests", 1, status="failed", rows=False)
    status, output, _ = shell(SCRIPT, main, "range_test", str(tmp_path / "tests"))
    assert status == 0
    assert "no range test has ended yet" in output
    assert "missing: seed=1: failed" in output
    assert answer(tmp_path / "tests") == {"configurations": []}
    assert (tmp_path / "tests" / "range_test.png").stat().st_size


def test_curves_put_together_are_still_told_of_one_by_one(tests, shell):
    output = shell(SCRIPT, main, "range_test", str(tests), "--by", "model")[1]
    assert len(answer(tests)["configurations"]) == 3
    assert len([line for line in output if line.startswith("│")]) == 6


def test_range_tests_of_an_experiment_have_its_figure_and_no_command_that_would_be_refused(tests, nodes):
    leave_test(tests, 0, 0.2, turn=0.9, floor=0.1, more=("experiment=smith/rates", "size=small"))
    draw_sweep(tests, "rates", without=["model=lenet"])
    assert nodes[-1]["smooth"] == 3
    command = answer(tests, "rates-without-lenet")["command"]
    assert command == "optimizer.weight_decay=0.2 optimizer.lr=0.9 schedule=one_cycle"


def test_a_command_is_quoted_for_the_shell_and_leaves_out_what_was_the_tests_own():
    own = "callbacks.range_test.steps=50 optimizer.lr=0.3 logger=csv seed=3 schedule=cosine"
    command = next_command({"max_lr": 0.987, "overrides": f"model.widths=[30,10] {own} +a='x y'"})
    assert shlex.split(command)[4:] == [
        "model.widths=[30,10]",
        "+a='x",
        "y'",
        "optimizer.lr=0.99",
        "schedule=one_cycle",
    ]
    assert next_command({"max_lr": np.nan, "overrides": ""}) is None


def test_figures_of_ones_own_are_drawn_from_the_table_that_they_name(tests, figures):
    for seed in (0, 1):
        run = leave_test(tests, seed, 0.7, rows=False)
        (run.path / "metrics.csv").write_text("step,epoch,train/loss\n10,0,1.5\n20,1,1.0\n")
    files = draw_sweep(tests, "epochs")
    assert [file.suffix for file in files] == [".png", ".pdf", ".csv", ".parquet"]
    assert pd.read_csv(files[2])["train/loss"].tolist() == [1.5, 1.0] * 2
