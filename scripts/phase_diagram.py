"""Where a random layer's map is ordered and where chaotic: python scripts/phase_diagram.py --help."""

import hydra
from omegaconf import DictConfig

from src.jobs.command_line import run


@hydra.main(version_base="1.3", config_path="../conf", config_name="phase_diagram")
def main(config: DictConfig) -> None:
    from src.jobs.phase_diagram_hydra_job import phase_diagram_hydra_job  # here, so that --help does not wait for torch

    phase_diagram_hydra_job(config)


if __name__ == "__main__":
    run(main)
