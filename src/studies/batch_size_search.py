"""Batch sizes at equal training time, each with the largest rate that its own range tests allow."""

from collections.abc import Sequence

from start_training.settings import PositiveInteger, PositiveNumber, checked
from start_training.studies.search import Finding, Search, best_option, in_words, usable
from start_training.studies.trials import Option, Trials

TIMED = {"callbacks": {"training_time": {"_target_": "start_training.callbacks.training_time.TrainingTime"}}}
PILOT = 2  # epochs of the run that measures the duration of an epoch
LEAST = 3  # epochs: with fewer, rounding to whole epochs makes training times unequal


@checked
def search_batch_size(search: Search, *, values: Sequence[PositiveInteger], seconds: PositiveNumber) -> Finding:
    """Full runs of each batch size that last `seconds` each, to within half an epoch.

    A pilot run of each batch size measures how many epochs that is; the table states what the runs took.
    Source: Smith 2018 (arXiv:1803.09820), on batch size: compare at equal training time, not at equal epochs.

    Args:
        search: What makes the runs.
        values: The batch sizes.
        seconds: Training time of a run.

    Raises:
        ValueError: Of a batch size fewer than `LEAST` epochs last `seconds`.
    """
    options = [Option(str(size), {"datamodule.batch_size": size}) for size in dict.fromkeys(values)]
    for option in options:
        option.of_runs = {**TIMED, "trainer.max_epochs": _epochs(search.trials, option, seconds)}
    for option in options:
        option.test(search.trials, search.seeds)
    for seed in search.seeds:  # in turns, as a machine's speed drifts
        for option in usable(options):
            option.train(search.trials, [seed])
    return Finding("batch size", options, chosen := best_option(options), [in_words("batch size", chosen, options)])


def _epochs(trials: Trials, option: Option, seconds: float) -> int:
    pilot = trials.train({**option.changes, **TIMED, "trainer.max_epochs": PILOT})
    epoch = pilot.summary["training_seconds"] / PILOT
    if seconds < LEAST * epoch:
        raise ValueError(
            f"seconds = {seconds:g}: less than {LEAST} epochs of batch size {option.name}, of {epoch:.2g} seconds each"
        )
    return round(seconds / epoch)
