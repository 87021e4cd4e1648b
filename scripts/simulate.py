"""Sample many nets at initialization, or with -m a sweep of them: python scripts/simulate.py --help."""

import hydra
from omegaconf import DictConfig

from src.jobs.command_line import run


@hydra.main(version_base="1.3", config_path="../conf", config_name="simulate")
def main(config: DictConfig) -> None:
    from src.jobs.simulate_hydra_job import simulate_hydra_job  # here, so that --help does not wait for torch

    simulate_hydra_job(config)


def main_and_figure() -> None:
    """All jobs of the command line, then the figure of them all, where there is to be one."""
    main()
    from src.jobs.simulate_hydra_job import draw_figure_of_all

    draw_figure_of_all()


if __name__ == "__main__":
    run(main_and_figure)
