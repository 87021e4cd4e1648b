"""Train one net, or with -m a sweep of them: python scripts/train.py --help."""

import hydra
from omegaconf import DictConfig

from src.jobs.command_line import run


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def main(config: DictConfig) -> None:
    from src.jobs.hydra_job import train_hydra_job  # here, so that --help does not wait for torch

    train_hydra_job(config)


if __name__ == "__main__":
    run(main)
