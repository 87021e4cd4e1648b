"""W&B online without a server that can be used: one line, and then training, or none; a sweep asks once."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from start_training.config.loggers import build_loggers
from start_training.config.wandb_server import is_online
from start_training.runs.config_hash import config_hash
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from tests.forked import ROOT, UNDRAWN, Forked, start
from tests.small_runs import SMALL
from tests.wandb_records import logged, of_kind, records
from tests.wandb_servers import KEY, faulty_server, variables

WORDS = [word for word in SMALL if word != "logger=csv"]


def begin(home: Path, address: str, key: str | None, *words: str) -> Forked:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), UNDRAWN: "1", **variables(home, address, key)}
    return start(ROOT / "scripts" / "train.py", *words, *WORDS, env=environment, cwd=home)


def ending(process: Forked) -> tuple[int, list[str]]:
    """The exit status of a process, and its lines on stderr."""
    status = process.wait(200)
    return status, [line for line in process.stderr.splitlines() if line]


FAULTS = [
    ("401", KEY),
    ("refused", None),
    ("refused", "short"),
    *((f, KEY) for f in ("refused", "silent", "500", "403")),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_is_logged_offline_and_whole(tmp_path):
    """With all faults at a time, since the runs spend most of it waiting for answers."""
    with ExitStack() as servers:
        processes = {}
        for number, (fault, key) in enumerate(FAULTS):
            (home := tmp_path / str(number)).mkdir()
            address, _ = servers.enter_context(faulty_server(fault))
            processes[home] = begin(home, address, key, f"hydra.run.dir={home}/run")
        ends = {home: ending(process) for home, process in processes.items()}
    for (home, (status, lines)), fault in zip(ends.items(), FAULTS, strict=True):
        assert status == 0, (fault, lines)
        [line] = lines
        assert line.startswith("logger.wandb.mode = online: W&B cannot be used online ("), fault
        assert line.endswith("; the run is logged offline, for wandb sync"), fault
        entries, summary = records(home / "run"), RunDirectory(home / "run").summary()
        assert {name: logged(entries)[name] for name in summary["metrics"]} == summary["metrics"], fault
        assert [end.exit_code for end in of_kind(entries, "exit")] == [0], fault


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_fallback_error_ends_the_run_before_it_trains(tmp_path):
    with faulty_server("401") as (address, _):
        words = ("logger.wandb.fallback=error", f"hydra.run.dir={tmp_path}/run")
        status, [line] = ending(begin(tmp_path, address, KEY, *words))
    assert status == 1
    assert line.startswith("error: logger.wandb.mode = online: ")
    assert RunDirectory(tmp_path / "run").summary()["steps"] == 0


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("launcher", ["basic", "replicas", "process", "joblib"])
def test_a_sweep_asks_once(tmp_path, launcher):
    with faulty_server("401") as (address, requests):
        words = ("-m", "seed=0,1,2", f"hydra/launcher={launcher}", f"hydra.sweep.dir={tmp_path}/sweep")
        status, [line] = ending(begin(tmp_path, address, KEY, *words))
    assert status == 0
    assert line.endswith("; all runs of this command are logged offline, for wandb sync")
    assert len([path for path in requests if path == "/graphql"]) == 1
    assert len([*tmp_path.glob("sweep/*/wandb/offline-run-*")]) == 3


@pytest.mark.parametrize(
    ("node", "online"),
    [({"mode": "offline"}, False), ({"mode": "online"}, True), ({}, True), ({"offline": True}, False)],
)
def test_only_an_online_logger_asks(monkeypatch, node, online):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert is_online(node) == online


def test_names_are_cut_and_the_fallback_is_no_part_of_the_hash(config, tmp_path):
    settings = config("logger=wandb", "+logger.wandb.tags=[a,'',bb]")
    settings["logger"]["wandb"]["tags"].append("t" * 65)
    job = Job(settings, tmp_path, overrides=("model.width=16",) * 20, sweep="s" * 200)
    logger = build_loggers(job, RunDirectory(tmp_path))[-1]
    given = logger._wandb_init
    assert [len(given["name"]), len(given["group"])] == [128, 128]
    assert given["tags"][:-1] == ["FullyConnected", "VarianceScaling, scale 2", "digits", "a", "bb"]
    assert len(given["tags"][-1]) == 64
    changed = config("logger=wandb", "logger.wandb.fallback=error")
    assert config_hash(changed) == config_hash(config())
    assert Job(settings, tmp_path).name == "FullyConnected VarianceScaling"
    with pytest.raises(ValueError, match=r"logger\.wandb\.fallback = 'later': must be one of error, offline"):
        changed["logger"]["wandb"]["fallback"] = "later"
        build_loggers(Job(changed, tmp_path), RunDirectory(tmp_path))
