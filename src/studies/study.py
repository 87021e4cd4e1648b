"""The directory of a study, which is many runs and what they show: claimed, kept at a signal, released."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import wandb

from start_training.config.mistakes import settings_in
from start_training.runs.directory import RunDirectory
from start_training.runs.job import Job
from start_training.runs.outcome import Interrupted


@contextmanager
def study(job: Job) -> Iterator[RunDirectory]:
    """The job's directory, with its config.yaml; its runs lie in runs/, and stay there whatever happens.

    A signal raises `Interrupted`. Raises ValueError, naming the setting in full, for one that cannot be used, and for
    a directory that holds something else.
    """
    run = RunDirectory(job.directory)
    run.claim(job.config)
    try:
        with settings_in(job.config):
            if not run.holds_results:
                run.begin(job.config)
            yield run
    except (KeyboardInterrupt, SystemExit) as error:
        raise Interrupted(signal.SIGINT) from error
    except ValueError as error:
        if not any(RunDirectory(path).finished for path in run.path.glob("runs/*")):  # leave it to any other config
            run.write_summary({"status": "failed", "reason": f"ValueError: {error}", "steps": 0})
        raise
    finally:
        if wandb.run is not None:
            wandb.finish()
        run.release()
