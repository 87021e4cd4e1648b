"""Batch sizes at equal training time, each with the largest rate that its own range tests allow."""

from collections.abc import Sequence

from start_training.settings import list_of, positive_integer, positive_number
from start_training.studies.search import Finding, Search, best_option, in_words, usable
from start_training.studies.trials import Option, Trials

TIMED = {"callbacks": {"training_time": {"_target_": "start_training.callbacks.training_time.TrainingTime"}}}
PILOT = 2  # epochs that tell how long one takes
LEAST = 3  # epochs, as their number is rounded


def search_batch_size(search: Search, *, values: Sequence[int], seconds: float) -> Finding:
    """Full runs of each batch size that last `seconds` each, to within half an epoch.

    How many epochs that is a pilot run of each tells; what the runs took stands in the table.
    Source: Smith 2018 (arXiv:1803.09820), on batch size: compare at equal training time, not at equal epochs.
    Raises ValueError for a batch size of which too few epochs fit in for their times to be equal.
    """
    positive_number("seconds", seconds)
    sizes = [positive_integer("values", value) for value in dict.fromkeys(list_of("values", values))]
    options = [Option(str(size), {"datamodule.batch_size": size}) for size in sizes]
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
