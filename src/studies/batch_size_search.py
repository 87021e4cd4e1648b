"""Search for a batch size: train each for the same time, at the largest learning rate that its range tests allow."""

from collections.abc import Sequence

from start_training.settings import PositiveInteger, PositiveNumber, checked
from start_training.studies.search import Search, SearchFinding, best_option, comparison, usable
from start_training.studies.trials import Option, Trials

TIMED = {"callbacks": {"training_time": {"_target_": "start_training.callbacks.training_time.TrainingTime"}}}
PILOT_EPOCHS = 2  # length of the pilot run that measures the duration of an epoch
MIN_EPOCHS = 3  # shortest full run: with fewer epochs, rounding to whole epochs makes training times unequal


@checked
def search_batch_size(search: Search, *, values: Sequence[PositiveInteger], seconds: PositiveNumber) -> SearchFinding:
    """Compare batch sizes by full runs of equal training time, and choose the one with the lowest validation loss.

    A pilot run of each batch size measures the duration of an epoch, which determines how many whole epochs come
    closest to `seconds`. The table of options states the time that the runs actually took.
    Source: Smith 2018 (arXiv:1803.09820), on batch size: compare at equal training time, not at equal epochs.

    Args:
        search: Trains the runs of the search.
        values: The batch sizes to compare.
        seconds: Training time of each full run.

    Returns:
        All batch sizes with their runs, and the chosen one.

    Raises:
        ValueError: `MIN_EPOCHS` epochs with one of the batch sizes take longer than `seconds`.
    """
    options = [Option(str(size), {"datamodule.batch_size": size}) for size in dict.fromkeys(values)]
    for option in options:
        option.run_changes = {**TIMED, "trainer.max_epochs": _epochs(search.trials, option, seconds)}
    for option in options:
        option.test(search.trials, search.seeds)
    for seed in search.seeds:  # alternate between the options, because the speed of a machine drifts
        for option in usable(options):
            option.train(search.trials, [seed])
    return SearchFinding(
        "batch size", options, chosen := best_option(options), [comparison("batch size", chosen, options)]
    )


def _epochs(trials: Trials, option: Option, seconds: float) -> int:
    pilot = trials.train({**option.changes, **TIMED, "trainer.max_epochs": PILOT_EPOCHS})
    epoch = pilot.summary["training_seconds"] / PILOT_EPOCHS
    if seconds < MIN_EPOCHS * epoch:
        raise ValueError(
            f"seconds = {seconds:g}: must be at least {MIN_EPOCHS * epoch:.3g}, the duration of {MIN_EPOCHS} epochs "
            f"with batch size {option.name}"
        )
    return round(seconds / epoch)
