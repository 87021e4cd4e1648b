"""A trial of a search by Optuna: reports the metric at the end of each epoch, and ends the run if it is pruned."""

import re
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from hydra.core.override_parser.types import Quote, QuotedString

from start_training.config.build_object import build
from start_training.tasks.merit import Merit

NAME, PRUNER = "trial", "pruner"  # PRUNER: attribute of the study that holds the config node of its pruner
_ADDRESS = re.compile(r"(?P<study>[\w-]+):(?P<number>\d+)@(?P<storage>.+)")


def override_of(storage: str, study: str, number: int) -> str:
    """Return the override that tells a job which trial it is.

    Args:
        storage: URL of the database.
        study: Name of the study.
        number: Number of the trial.

    Example:
        >>> override_of("sqlite:///optuna.db", "search", 3)
        "trial='search:3@sqlite:///optuna.db'"
    """
    text = f"{study}:{number}@{storage}"
    return f"{NAME}={QuotedString(text=text, quote=Quote.single).with_quotes()}"


def build_pruner(node: Mapping[str, Any] | None) -> Any:
    """Return the pruner of a config node; one that never prunes for None or an empty node."""
    return build(node or {"_target_": "optuna.pruners.NopPruner"}, "hydra.sweeper.pruner")


def connect(storage: str, study: str, merit: Merit) -> Any:
    """Open a study, or create it.

    Raises:
        ValueError: Optuna is not installed, the name is not allowed, or the storage cannot be used.
    """
    if not re.fullmatch(r"[\w-]+", study):
        raise ValueError(f"hydra.sweeper.study = {study!r}: must be a name of letters, digits, - and _")
    try:
        import optuna
        from optuna.storages import RDBStorage
    except ImportError as error:
        raise ValueError(
            "hydra/sweeper = optuna: needs Optuna, which is not installed; type "
            "pip install 'how-to-start-training[optuna]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction: Any = "minimize" if merit.mode == "min" else "maximize"
    waits = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
    try:
        database = RDBStorage(storage, engine_kwargs=waits)
        return optuna.create_study(storage=database, study_name=study, direction=direction, load_if_exists=True)
    except Exception as error:  # of SQLAlchemy or a database driver
        raise ValueError(
            f"hydra.sweeper.storage = {storage}: cannot be used ({type(error).__name__}: {error})"
        ) from error


class TrialReport(pl.Callback):
    """Report the metric of a trial to Optuna at the end of each epoch, and stop the run if Optuna prunes the trial.

    Rank 0 reports, and all ranks stop together.

    Args:
        address: Study, number and storage of the trial, as in `override_of`.
        merit: Names the metric, and whether it is minimized.
    """

    tested_after_stop = False

    def __init__(self, address: str, merit: Merit) -> None:
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise ValueError(f"trial = {address}: must be study:number@storage, as the sweeper sets it, or null")
        self.study, self.number, self.storage = match["study"], int(match["number"]), match["storage"]
        self.merit = merit
        self.pruned_after: int | None = None
        self._trial: Any = None

    def summary(self) -> dict[str, Any]:
        """Return study and number of the trial, and whether it was pruned."""
        return {NAME: {"study": self.study, "number": self.number, "pruned": self.pruned_after is not None}}

    def sentence(self, summary: Mapping[str, Any], *, short: bool = False) -> str:
        return f"trial {self.number}" + (f" pruned after epoch {self.pruned_after}" if self.pruned_after else "")

    def stop_reason(self) -> str | None:
        if self.pruned_after is None:
            return None
        return f"pruned by Optuna after epoch {self.pruned_after}: {self.merit.monitor} is worse than in other trials"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        prune = False
        if trainer.is_global_zero:
            from optuna.trial import Trial

            study = connect(self.storage, self.study, self.merit)
            study.pruner = build_pruner(study.user_attrs.get(PRUNER))
            [trial] = [trial for trial in study.get_trials(deepcopy=False) if trial.number == self.number]
            self._trial = Trial(study, trial._trial_id)
            # A run that was killed after the checkpoint of its last epoch has not heard that it was to be pruned.
            ended = trial.intermediate_values and max(trial.intermediate_values) < trainer.current_epoch
            prune = bool(ended and self._trial.should_prune())
        self._end(trainer, trainer.current_epoch, prune=prune)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        prune = False
        if self._trial is not None:
            value = trainer.callback_metrics.get(self.merit.monitor)
            storage, trial_id = self._trial.study._storage, self._trial._trial_id
            reported = storage.get_trial(trial_id).intermediate_values
            if value is not None and trainer.current_epoch not in reported:
                self._trial.report(float(value), trainer.current_epoch)
            prune = bool(value is not None and self._trial.should_prune())
        self._end(trainer, trainer.current_epoch + 1, prune=prune)

    def _end(self, trainer: pl.Trainer, epochs: int, *, prune: bool) -> None:
        if trainer.strategy.reduce_boolean_decision(prune, all=False):
            self.pruned_after = epochs
            trainer.should_stop = True
