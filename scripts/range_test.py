"""The largest learning rate that a net can use, over seeds and any sweep: python scripts/range_test.py --help."""

import hydra
from omegaconf import DictConfig

from src.jobs.command_line import run


@hydra.main(version_base="1.3", config_path="../conf", config_name="range_test")
def main(config: DictConfig) -> None:
    from src.jobs.hydra_job import train_hydra_job  # here, so that --help does not wait for torch

    train_hydra_job(config)


if __name__ == "__main__":
    run(main)
