"""The W&B sweeps in docs/: W&B's own agent builds their command lines, which Hydra accepts; a run knows its sweep."""

import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb import wandb_agent

from start_training.config.overrides import check_overrides, loader_of
from start_training.runs.directory import RunDirectory
from tests.forked import ROOT, UNDRAWN, start
from tests.small_runs import composed
from tests.wandb_records import config_of, of_kind, records
from tests.wandb_records import values as wandb_values
from tests.wandb_servers import KEY, faulty_server, variables

DOCS = ROOT / "docs"
[IN_PAGE] = re.findall(r"```yaml\n(# sweep.yaml.*?)```", (DOCS / "sweeps.md").read_text(), re.S)
SWEEPS = [yaml.safe_load(text) for text in ((DOCS / "wandb_sweep.yaml").read_text(), IN_PAGE)]
Sweep = dict[str, Any]


def chosen(sweep: Sweep, seed: int) -> dict[str, dict[str, Any]]:
    """Values of the parameters, as W&B's server sends them."""
    pick = random.Random(seed)
    return {
        name: {
            "value": pick.choice(setting["values"])
            if "values" in setting
            else pick.uniform(setting["min"], setting["max"])
        }
        for name, setting in sweep["parameters"].items()
    }


def started(monkeypatch: pytest.MonkeyPatch, sweep: Sweep, seed: int) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a job that the agent starts."""
    jobs: list[dict[str, Any]] = []
    monkeypatch.setattr(wandb_agent, "AgentProcess", lambda **given: jobs.append(given) or type("Job", (), {})())
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, "abcd1234")
    agent = wandb_agent.Agent(None, None, sweep_id="abcd1234")
    agent._sweep_command = [*sweep["command"]]
    agent._command_run({"run_id": f"run{seed}", "program": sweep["program"], "args": chosen(sweep, seed)})
    [job] = jobs
    return job["command"], job["env"]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_agents_commands_are_accepted(monkeypatch, tmp_path, sweep):
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        command, _ = started(monkeypatch, sweep, seed)
        words = command[command.index("scripts/train.py") + 1 :]
        assert command[-len(words) - 2 : -len(words)] == ["python", "scripts/train.py"]
        check_overrides(words, loader_of([]))
        config = composed(*(word for word in words if not word.startswith("logger.")))
        values = {name: setting["value"] for name, setting in chosen(sweep, seed).items()}
        assert config["optimizer"]["lr"] == values["optimizer.lr"] > 0
        assert config["model"]["depth"] == values["model.depth"]
        assert sweep["metric"]["name"] in ("objective", "start_of_training.epoch", "val/loss")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_job_of_the_agent_is_a_run_of_its_sweep(monkeypatch, tmp_path):
    """A job of each sweep at a time, since they wait for W&B."""
    processes = {}
    with faulty_server("refused") as (address, _):
        for number, sweep in enumerate(SWEEPS):
            (home := tmp_path / str(number)).mkdir()
            monkeypatch.chdir(home)
            command, environment = started(monkeypatch, sweep, number)
            assert Path(os.environ["WANDB_SWEEP_PARAM_PATH"]).is_file()
            program = command.index("scripts/train.py")
            small = ("model.width=16", "trainer.max_epochs=1", f"hydra.run.dir={home}/run")
            given = {**environment, **variables(home, address, KEY), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            words = (*command[program + 1 :], *small)
            processes[home] = start(ROOT / command[program], *words, env={**given, UNDRAWN: "1"}, cwd=home)
        assert [process.wait(200) for process in processes.values()] == [0] * len(SWEEPS)
    for number, ((home, process), sweep) in enumerate(zip(processes.items(), SWEEPS, strict=True)):
        entries = records(home / "run")
        [first], known = of_kind(entries, "run"), config_of(entries)
        assert (first.run_id, first.sweep_id) == (f"run{number}", "abcd1234"), process.stderr
        values = {name: setting["value"] for name, setting in chosen(sweep, number).items()}
        assert {name: known[name] for name in values} == values  # W&B compares jobs by these
        assert known["model"]["depth"] == values["model.depth"]
        assert known["initialization"] == values.get("initializer", "he_normal")
        shown = wandb_values(item for entry in of_kind(entries, "summary") for item in entry.update)
        assert shown["objective"] == RunDirectory(home / "run").summary()["objective"]  # the metric of the sweep
