"""Will this net start training? Exit status 0: healthy, 3: not, 1: a mistake. python scripts/diagnose.py --help."""

import sys

import hydra
from omegaconf import DictConfig

from src.jobs.command_line import run


def main() -> None:
    statuses: list[int] = []

    @hydra.main(version_base="1.3", config_path="../conf", config_name="diagnose")
    def diagnose(config: DictConfig) -> None:
        from src.jobs.diagnose import diagnose_hydra_job  # here, so that --help does not wait for torch

        statuses.append(diagnose_hydra_job(config))

    diagnose()
    sys.exit(max(statuses, default=0))  # of a multirun, the worst


if __name__ == "__main__":
    run(main)
