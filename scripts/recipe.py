"""From range tests to a trained net within a budget of epochs: python scripts/recipe.py --help."""

import hydra
from omegaconf import DictConfig

from src.jobs.command_line import run


@hydra.main(version_base="1.3", config_path="../conf", config_name="recipe")
def main(config: DictConfig) -> None:
    from src.jobs.recipe_hydra_job import recipe_hydra_job  # here, so that --help does not wait for torch

    recipe_hydra_job(config)


if __name__ == "__main__":
    run(main)
