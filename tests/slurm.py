"""A cluster on this machine: sbatch, srun, sacct and scontrol as far as submitit and Lightning look at them.

`python slurm.py COMMAND …` is that command; its state lies in the folder $FAKE_SLURM. Tasks of all nodes are
processes here, started with the variables that SLURM's own srun gives them.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ.get("FAKE_SLURM", "."))


def install(folder: Path) -> dict[str, str]:
    """Put the commands in a folder; returns the environment in which they are found."""
    for name in ("sbatch", "srun", "sacct", "scontrol"):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "FAKE_SLURM": str(folder)}


def sbatch(file: str) -> None:
    """Queue the jobs of a batch file, and start all of them: the cluster is empty."""
    lines = [line for line in Path(file).read_text().splitlines() if line.startswith("#SBATCH --")]
    options = {key: shlex.split(value)[0] for key, value in (line[10:].split("=", 1) for line in lines if "=" in line)}
    nodes, per_node = int(options["nodes"]), int(options["ntasks-per-node"])
    job = os.getpid()
    last = int(options["array"].partition("%")[0].rpartition("-")[2]) if "array" in options else 0
    for index in range(last + 1):
        variables = {
            "SLURM_JOB_ID": str(job + index),
            "SLURM_JOB_NAME": options["job-name"],
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_NNODES": str(nodes),
            "SLURM_NTASKS": str(nodes * per_node),
            "SLURM_NTASKS_PER_NODE": str(per_node),
            "SLURM_NODELIST": "127.0.0.1",
            **({"SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(index)} if "array" in options else {}),
        }
        identity = f"{job}_{index}" if "array" in options else str(job)
        command = [sys.executable, __file__, "node", identity, str(Path(file).resolve())]
        subprocess.Popen(command, env={**os.environ, **variables}, start_new_session=True,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    print(f"Submitted batch job {job}")


def node(identity: str, file: str) -> None:
    """Run one job, again for as long as it is requeued."""
    state, requeue = STATE / f"{identity}.state", STATE / f"{identity}.requeue"
    while True:
        state.write_text("RUNNING")
        status = subprocess.run(["bash", file], check=False).returncode
        if not requeue.exists():
            break
        requeue.unlink()
    state.write_text("FAILED" if status else "COMPLETED")


def srun(*arguments: str) -> None:
    """Start the tasks of a job, and wait for them."""
    words = list(arguments)
    output, errors = words[words.index("--output") + 1], words[words.index("--error") + 1]
    command, per_node = words[words.index(errors) + 1 :], int(os.environ["SLURM_NTASKS_PER_NODE"])
    tasks = []
    for rank in range(int(os.environ["SLURM_NTASKS"])):
        place = {"PROCID": rank, "LOCALID": rank % per_node, "NODEID": rank // per_node}
        variables = {**os.environ, **{f"SLURM_{name}": str(value) for name, value in place.items()}}
        with _log(output, rank).open("a") as stdout, _log(errors, rank).open("a") as stderr:
            tasks.append(subprocess.Popen(command, env=variables, stdout=stdout, stderr=stderr))
    (STATE / f"{os.environ['SLURM_JOB_ID']}.pids").write_text(" ".join(str(task.pid) for task in tasks))
    statuses = [task.wait() for task in tasks]
    sys.exit(max(abs(status) for status in statuses))


def _log(pattern: str, rank: int) -> Path:
    names = {"%A": "SLURM_ARRAY_JOB_ID", "%a": "SLURM_ARRAY_TASK_ID", "%j": "SLURM_JOB_ID"}
    for mark, variable in names.items():
        pattern = pattern.replace(mark, os.environ.get(variable, ""))
    path = Path(pattern.replace("%t", str(rank)))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def sacct(*arguments: str) -> None:
    """Each job's state, as submitit asks for it."""
    print("JobID|State|NodeList")
    for state in STATE.glob("*.state"):
        print(f"{state.stem}|{state.read_text()}|localhost")


def scontrol(verb: str, identity: str) -> None:
    """`scontrol requeue JOB`: the job is run again once its tasks have ended."""
    assert verb == "requeue"
    (STATE / f"{identity}.requeue").touch()


if __name__ == "__main__":
    {f.__name__: f for f in (sbatch, srun, sacct, scontrol, node)}[sys.argv[1]](*sys.argv[2:])
