"""Choose a weight decay, a momentum or a batch size by short runs: python scripts/search.py --help."""

import hydra
from omegaconf import DictConfig

from src.jobs.command_line import run


@hydra.main(version_base="1.3", config_path="../conf", config_name="search")
def main(config: DictConfig) -> None:
    from src.jobs.search_hydra_job import search_hydra_job  # here, so that --help does not wait for torch

    search_hydra_job(config)


if __name__ == "__main__":
    run(main)
