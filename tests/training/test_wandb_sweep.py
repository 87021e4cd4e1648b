"""The W&B sweep in docs/: W&B's own agent builds its command lines, which Hydra accepts, and a run knows its sweep."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb import wandb_agent

from start_training.config.overrides import check_overrides, loader_of
from tests.forked import ROOT, run
from tests.small_runs import composed
from tests.wandb_records import config_of, of_kind, records
from tests.wandb_servers import KEY, faulty_server, variables

SWEEP = yaml.safe_load((ROOT / "docs" / "wandb_sweep.yaml").read_text())


def chosen(seed: int) -> dict[str, dict[str, Any]]:
    """Values of the parameters, as W&B's server sends them."""
    pick = random.Random(seed)
    return {
        name: {
            "value": pick.choice(setting["values"])
            if "values" in setting
            else pick.uniform(setting["min"], setting["max"])
        }
        for name, setting in SWEEP["parameters"].items()
    }


def started(monkeypatch: pytest.MonkeyPatch, seed: int) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a job that the agent starts."""
    jobs: list[dict[str, Any]] = []
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda **given: jobs.append(given) or type("Job", (), {})())
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "abcd1234")
    agent = wandb_agent.Agent(None, None, sweep_id="abcd1234")
    agent._sweep_command = [*SWEEP["command"]]
    agent._command_run({"run_id": f"run{seed}", "program": SWEEP["program"], "args": chosen(seed)})
    [job] = jobs
    return job["command"], job["env"]


def test_the_agents_commands_are_accepted(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        command, _ = started(monkeypatch, seed)
        assert command[:3] == ["/usr/bin/env", "python", "scripts/train.py"]
        check_overrides(command[3:], loader_of([]))
        config = composed(*(word for word in command[3:] if not word.startswith("logger.")))
        assert 0 < config["optimizer"]["lr"] <= 0.1 and config["model"]["depth"] in (5, 20, 50)
        assert "start_of_training" in config["callbacks"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_job_of_the_agent_is_a_run_of_its_sweep(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command, environment = started(monkeypatch, 0)
    small = ("model.width=16", "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/run")
    with faulty_server("refused") as (address, _):
        given = {**environment, **variables(tmp_path, address, KEY), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        ended = run(ROOT / command[2], *command[3:], *small, env=given, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    entries = records(tmp_path / "run")
    [first], known = of_kind(entries, "run"), config_of(entries)
    assert (first.run_id, first.sweep_id) == ("run0", "abcd1234")
    values = {name: setting["value"] for name, setting in chosen(0).items()}
    assert {name: known[name] for name in values} == values  # W&B compares jobs by these
    assert known["model"]["depth"] == values["model.depth"] and known["initialization"] == values["initializer"]
    assert Path(os.environ["WANDB_SWEEP_PARAM_PATH"]).is_file()
