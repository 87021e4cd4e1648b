"""Which of a run's processes this is."""

from pytorch_lightning.utilities import rank_zero_only


def is_rank_zero() -> bool:
    """Whether this process writes the run's files. Known before a Trainer exists, from what launched the process."""
    return getattr(rank_zero_only, "rank", 0) == 0
