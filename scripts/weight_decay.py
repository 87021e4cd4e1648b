"""The weight decay with which a layer settles at the edge of chaos: python scripts/weight_decay.py --help.

Exit status 0: a number, 3: the guideline does not apply, 1: a mistake.
"""

import sys

import hydra
from omegaconf import DictConfig

from src.jobs.command_line import run


def main() -> None:
    statuses: list[int] = []

    @hydra.main(version_base="1.3", config_path="../conf", config_name="weight_decay")
    def weight_decay(config: DictConfig) -> None:
        from src.jobs.guideline_hydra_job import guideline_hydra_job  # here, so that --help does not wait for torch

        statuses.append(guideline_hydra_job(config))

    weight_decay()
    sys.exit(max(statuses, default=0))  # of a multirun, the worst


if __name__ == "__main__":
    run(main)
