"""One image through one deep net, several initializations side by side: python scripts/picture.py --help."""

import hydra
from omegaconf import DictConfig

from src.jobs.command_line import run


@hydra.main(version_base="1.3", config_path="../conf", config_name="picture")
def main(config: DictConfig) -> None:
    from src.jobs.picture_hydra_job import picture_hydra_job  # here, so that --help does not wait for torch

    picture_hydra_job(config)


if __name__ == "__main__":
    run(main)
