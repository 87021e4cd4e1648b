"""Pages hold what was recorded and no more, escape what others wrote, and are written while files are damaged."""

import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from start_training.reports.pages import sweep_page
from start_training.reports.pages.report import log_report, watch, write_report
from start_training.runs.job import Job
from start_training.runs.read_lengths import read_lengths
from start_training.theory.mean_length import log_mean_length
from tests.reports.pages.made_runs import STRANGE, data_of, leave_job, leave_study, leave_sweep
from tests.wandb_records import of_kind, records


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    run = leave_job(tmp_path_factory.mktemp("made"), "run", status="completed")
    write_report(run)
    return run


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    sweep = leave_sweep(tmp_path_factory.mktemp("made") / "sweep")
    write_report(sweep)
    return sweep


def test_the_page_of_a_run_shows_its_tables_beside_theory(run):
    data = data_of(run / "report.html")["run"]
    plots, lengths = data["plots"], read_lengths(run, matrix="mean")
    assert np.abs(np.array(plots["heat"]["data"][0]["z"]) - np.log(lengths)).to_numpy().max() <= 5e-5
    assert data["linked"]["layers"] == lengths.index.get_level_values("name").tolist()
    assert data["linked"]["steps"] == [str(step) for step in lengths.columns] and not data["linked"]["merged"]
    curves = {trace.get("name"): trace for trace in plots["profile"]["data"]}
    predicted = np.log(lengths.iloc[0, 0]) + np.append(0, log_mean_length([2.0] * 4))
    assert np.allclose(curves["theory: mean"]["y"], predicted, atol=1e-4)
    assert curves["theory: 95% of nets at initialization"]["y"][-1] > predicted[-1]
    rows = pd.read_csv(run / "metrics.csv")
    drawn = {trace["name"]: trace for trace in plots["training"]["data"] if trace["showlegend"]}
    assert drawn["validation"]["x"] == rows["step"].tolist()
    assert np.allclose(drawn["validation"]["y"], rows["val/loss"], rtol=1e-4)
    assert {trace["name"] for trace in plots["training"]["data"]} >= {"learning rate", "momentum"}
    assert set(plots) == {"training", "heat", "profile", "growth"}


def test_the_page_of_a_run_says_what_it_is_and_links_to_its_files(run):
    text = (run / "report.html").read_text()
    for words in ("completed: why", "test accuracy 25.00%", "FullyConnected: depth 4, width 8", "SGD", "<dd>0</dd>"):
        assert words in text
    links = re.findall(r'<a href="\./([^"]+)">', text)
    assert {"config.yaml", "summary.json", "metrics.csv", "lengths", "steps"} <= set(links)
    assert all((run / link).exists() for link in links)


def test_pages_draw_the_metrics_of_any_task(tmp_path):
    for seed, name in enumerate("ab"):
        run = leave_job(tmp_path / "sweep", name, seed=seed, overrides=(f"seed={seed}",), status="completed")
        rows = pd.read_csv(run / "metrics.csv").rename(columns={"val/accuracy": "val/r2"}).assign(fid=2.0)
        rows.assign(**{"mine/val": 3.0}).to_csv(run / "metrics.csv", index=False)
        summary = json.loads((run / "summary.json").read_text())
        summary |= {"metrics": {"test/r2": 0.5 + seed, "test/loss": 0.25, "fid": 2.0}}
        (run / "summary.json").write_text(json.dumps(summary))
    write_report(run)
    text, page = (run / "report.html").read_text(), data_of(run / "report.html")["run"]
    assert "test R² 1.5000, test loss 0.2500" in text and "accuracy" not in text.partition("<script>")[0]
    axes = [axis["title"]["text"] for name, axis in page["plots"]["training"]["layout"].items() if "yaxis" in name]
    assert axes == ["loss", "R²", "fid", "mine", "learning rate", "momentum"]
    write_report(run.parent)
    sweep = data_of(run.parent / "report.html")["sweep"]
    assert sweep["curves"]["fid"]["y"][0][0] == 2 and sweep["curves"].keys() >= {"val/loss", "val/r2", "mine/val"}
    assert "1 ± 0.5 (2)" in (run.parent / "report.html").read_text()  # of test/r2
    assert "fid" not in sweep["choices"]


@pytest.mark.parametrize("page", ["run", "sweep"])
def test_every_figure_is_one_that_plotly_knows(page, request):
    for part in [*data_of(request.getfixturevalue(page) / "report.html").values()][-3:]:  # the last has not begun
        for plot in part.get("plots", {}).values():
            go.Figure(plot)  # refuses an attribute that does not exist


@pytest.mark.parametrize("page", ["run", "sweep"])
def test_a_page_runs_its_own_two_scripts_and_asks_for_nothing(page, request):
    text = (request.getfixturevalue(page) / "report.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src &#39;none&#39;; img-src data: blob:")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"sha256-([^&]*)&", policy) == digests and len(digests) == 2
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!data:|\./|#)[^"]*"|@import|url\(', markup)


def test_the_page_of_a_sweep_shows_jobs_means_and_reasons(sweep):
    text, data = (sweep / "report.html").read_text(), data_of(sweep / "report.html")
    assert "9 jobs: 4 completed, 2 diverged, 2 failed, 1 absent" in text.replace("\n", "")
    choices = data["sweep"]["choices"]
    assert choices["optimizer.lr"] == ["0.1", "1"] and choices["seed"] == ["0", "1", "2"]
    [unsettled] = re.findall(r'<table id="unsettled".*?</table>', text, re.S)
    assert unsettled.count('<td class="reason">why</td>') == 4 and "job_not_begun" in unsettled
    curves = data["sweep"]["curves"]["val/loss"]
    parts = [pd.read_csv(sweep / f"job_1_0_{seed}" / "metrics.csv") for seed in (0, 1)]
    jobs = [job["label"].partition("<br>")[0] for job in data["sweep"]["jobs"]]
    assert np.allclose(curves["y"][jobs.index("job_1_0_1")], parts[1]["val/loss"], rtol=1e-4)
    [means] = [
        mean for mean in curves["means"] if mean["texts"] == {"optimizer.lr": "0.1", "optimizer.weight_decay": "0"}
    ]
    losses = pd.concat(part["val/loss"] for part in parts).groupby(level=0)
    assert np.allclose(means["y"], losses.mean(), rtol=1e-4) and np.allclose(means["error"], losses.sem(), rtol=1e-3)
    assert "0.25 ± 0 (2)" in text  # of test/accuracy
    assert data["job-4"]["plots"]["heat"] and "job_1_0_0" in data["job-4"]["html"]


def test_what_others_wrote_is_text_wherever_it_stands(tmp_path):
    words = (f"model.name={STRANGE}", "seed=0")
    config = {"optimizer": {"_target_": "torch.optim.SGD", STRANGE: STRANGE}, STRANGE: STRANGE}
    sweep = tmp_path / "<i>sweep"
    run = leave_job(sweep, "<b>a", overrides=words, status="failed", config=config, layer=STRANGE)
    summary = json.loads((run / "summary.json").read_text())
    changed = {"reason": STRANGE, "commit": STRANGE, "versions": {STRANGE: STRANGE}, "metrics": {STRANGE: 1.0}}
    (run / "summary.json").write_text(json.dumps(summary | changed))
    (run / "metrics.csv").write_text(f"step,{STRANGE.replace(',', '')}\n1,2\n")
    (run / "figures").mkdir()
    (run / "figures" / "<img src=x>.png").touch()
    leave_job(sweep, "b", overrides=("model.name=c", "seed=0"))
    for directory in (run, sweep):
        page = write_report(directory)
        text, data = page.read_text(), data_of(page)
        markup = re.sub(r"<script>.*?</script>", "", text, flags=re.S) + "".join(
            part.get("html", "") for part in data.values()
        )
        assert "alert(2)" in markup  # it is shown
        assert not re.search(r"<script>alert|<img src=x|<b>a|<i>sweep", markup)
        labels = json.dumps([part.get("plots") for part in data.values()])
        assert "<script" not in labels and "<img" not in labels and "&lt;script" in labels


def test_damaged_files_are_named_and_the_rest_is_shown(tmp_path):
    sweep = leave_sweep(tmp_path / "sweep")
    [part] = (sweep / "job_1_0_0" / "lengths").glob("*.parquet")
    part.write_bytes(b"nothing")
    (sweep / "job_1_0_1" / "summary.json").write_text("{")
    (sweep / "job_1_1_0" / "config.yaml").write_text("{")
    page = data_of(write_report(sweep))
    named = {4: str(part), 5: "summary.json", 6: "config.yaml"}
    for number, name in named.items():
        assert name in page[f"job-{number}"]["html"] and "training" in page[f"job-{number}"]["plots"]
    assert "heat" not in page["job-4"]["plots"]


def test_nothing_that_a_strangers_config_names_is_imported(tmp_path):
    config = {"model": {"_target_": "antigravity.fly"}}
    run = leave_job(tmp_path, "run", config=config)
    page = write_report(run)
    assert "antigravity" in page.read_text().partition("<h3>Result")[0]  # in the list of problems
    assert "theory: mean" not in json.dumps(data_of(page))
    with pytest.raises(ValueError, match="antigravity"):
        write_report(tmp_path)


def test_lengths_that_are_zero_infinite_or_missing_are_marked(tmp_path):
    run = leave_job(tmp_path, "run", layers=4, steps=3)
    [part] = (run / "lengths").glob("*.parquet")
    rows = pd.read_parquet(part)
    rows.loc[[1, 6], "mean"] = [0.0, np.inf]
    rows.drop(index=11).to_parquet(part)
    data = data_of(write_report(run))["run"]
    assert data["linked"]["states"] == [[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]]
    assert [data["plots"]["heat"]["data"][0]["z"][row][column] for row, column in ((1, 0), (2, 1), (3, 2))] == [
        None
    ] * 3


def test_recorded_lengths_without_a_run_have_a_page(tmp_path):
    run = leave_job(tmp_path, "run", steps=300)
    for name in ("config.yaml", "summary.json", "metrics.csv"):
        (run / name).unlink()
    data = data_of(write_report(run, tmp_path / "page.html"))["run"]
    assert data["linked"]["merged"] and len(data["linked"]["steps"]) <= 256
    assert data["plots"]["heat"] and data["plots"]["growth"]


def test_a_watched_sweep_is_written_again_and_finished_jobs_are_not_read_again(tmp_path, monkeypatch, capsys):
    sweep, read, sections = leave_sweep(tmp_path / "sweep", decays=1, seeds=1), [], sweep_page.run_section
    monkeypatch.setattr(
        sweep_page, "run_section", lambda path, *a, **k: read.append(path.name) or sections(path, *a, **k)
    )
    times = []

    def wait(seconds: float) -> None:
        times.append(seconds)
        if len(times) == 2:
            leave_job(sweep, "job_new", seed=9, overrides=("optimizer.lr=3", "seed=9"))
        if len(times) == 3:
            (sweep / "jobs.json").unlink()
            sweep.rename(tmp_path / "away")
        if len(times) == 4:
            (tmp_path / "away").rename(sweep)
        if len(times) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch(sweep, 10, sleep=wait)
    assert times == [10] * 5 and read.count("job_1_0_0") == 1 and read.count("job_new") == 1
    assert capsys.readouterr().err.count("error: ") == 1 and "job_new" in (sweep / "report.html").read_text()
    assert not list(sweep.glob(".*partial"))


def test_the_command_names_the_page_and_mistakes(run, shell, tmp_path):
    status, output, _ = shell("report", str(run), "--output", "here.html")
    assert (status, output) == (0, ["page: here.html"]) and (tmp_path / "here.html").is_file()
    (tmp_path / "empty").mkdir()
    for words, message in {
        ("nowhere",): "no such directory",
        ("empty",): "holds neither a run",
        (str(run), "--watch", "0"): "--watch = 0.0: must be a number above 0",
    }.items():
        status, output, errors = shell("report", *words)
        assert status == 1 and not output and len(errors) == 1 and message in errors[0]


@pytest.mark.slow
def test_wandb_gets_the_page_as_an_artifact(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    log_report(run, write_report(run, tmp_path / "report.html"))
    [artifact] = of_kind(records(tmp_path), "artifact")
    assert artifact.type == "report" and [entry.path for entry in artifact.manifest.contents] == ["report.html"]


def test_a_page_is_in_the_wandb_group_of_the_runs_it_shows(tmp_path, monkeypatch):
    jobs: list[Job] = []
    monkeypatch.setattr("start_training.reports.pages.report.mirror_figures", lambda job, *_, **__: jobs.append(job))
    study, sweep, run = leave_study(tmp_path / "study"), leave_sweep(tmp_path / "a"), leave_job(tmp_path, "run")
    for path in (run, sweep, sweep / "job_1_0_0", study, study / "runs" / "job_0_0_0"):
        log_report(path, tmp_path / "report.html")
    assert [job.sweep for job in jobs] == [None, "a", "a", "study", "study"]
    assert [job.name for job in jobs][:2] == ["report of run", "report of a"]
    assert {job.kind for job in jobs} == {"report"}


def test_rates_of_range_tests_are_shown_like_metrics(tmp_path):
    sweep = leave_sweep(tmp_path / "sweep", rates=2, decays=1)
    for rate, name in ((0.25, "job_1_0_0"), (0.75, "job_1_0_1")):
        summary = json.loads((sweep / name / "summary.json").read_text())
        (sweep / name / "summary.json").write_text(json.dumps({**summary, "range_test": {"max_lr": rate}}))
    text = write_report(sweep).read_text()
    assert "<td>0.5 ± 0.25 (2)</td>" in text and '<td data-key="0.75">0.75</td>' in text
