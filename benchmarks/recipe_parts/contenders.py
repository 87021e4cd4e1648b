"""The contenders of the benchmark `recipe`: ways to train with a budget of epochs, what they search included."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from omegaconf import DictConfig
from pytorch_lightning.tuner import Tuner

from benchmarks._stepped_fit import silent_trainer
from benchmarks.recipe_parts.pruning import PrunedTrial
from start_training.config.build import build_datamodule
from start_training.config.build_module import build_module
from start_training.config.composed import plain
from start_training.figures.save import save_figure
from start_training.runs.job import Job
from start_training.studies import study
from start_training.studies.recipe import RECIPE
from start_training.studies.trials import Trial, Trials

COSINE = {"_target_": "start_training.schedules.cosine.Cosine", "_partial_": True, "end": 1e-4}
ADAMW = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.01}
SGD = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "momentum": 0.9, "nesterov": True}
PRODIGY = {"_target_": "prodigyopt.Prodigy", "_partial_": True, "lr": 1.0, "weight_decay": 0.01}
SCHEDULE_FREE = {"_target_": "schedulefree.AdamWScheduleFree", "_partial_": True, "lr": 0.0025, "weight_decay": 0.01}
SPACE = {"lr": (1e-4, 0.1), "weight_decay": (1e-5, 1.0)}  # both log-uniform, of AdamW
TRIALS = 8  # about; of Optuna's TPE and of random search: they take half of the budget, and the last run the other half
STARTUP = 4  # of the trials of TPE are random
LR_FIND_STEPS, LR_FIND_SHARE = 100, 0.25  # steps of Lightning's test, and the largest share of the budget it takes


@dataclass(frozen=True)
class Attempt:
    """What a contender gets: the config of the task with the seed, a directory of its own, and the budget in epochs."""

    config: DictConfig
    directory: Path
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        datamodule = build_datamodule(plain(self.config))
        datamodule.setup("fit")
        return len(datamodule.train_dataloader())

    @property
    def score(self) -> str:
        """The name of the task's score, such as test/accuracy."""
        return self.trials.merit.metric("test")

    @property
    def trials(self) -> Trials:
        return Trials(self.config, self.directory)

    def train(self, epochs: int, optimizer: Mapping[str, Any], schedule: Any = COSINE, **more: Any) -> Trial:
        changes = {"trainer.max_epochs": epochs, "optimizer": optimizer, "schedule": schedule}
        return self.trials.train({**changes, **more})


Result = dict[str, Any]  # test score, epochs trained, and what was chosen
Contender = Callable[[Attempt], Result]


def _result(attempt: Attempt, trial: Trial, epochs: float, **chosen: Any) -> Result:
    score = trial.metric(attempt.score)
    return {"score": score if math.isfinite(score) else None, "epochs": round(epochs, 2),
            "diverged": trial.summary["status"] == "diverged", "chosen": chosen}  # fmt: skip


def _fixed(optimizer: Mapping[str, Any], attempt: Attempt) -> Result:
    return _result(attempt, attempt.train(attempt.epochs, optimizer), attempt.epochs)


def _schedule_free(attempt: Attempt) -> Result:
    warmup = round(0.05 * attempt.epochs * attempt.steps_per_epoch)
    trial = attempt.train(attempt.epochs, {**SCHEDULE_FREE, "warmup_steps": warmup}, None)
    return _result(attempt, trial, attempt.epochs)


def _optuna(attempt: Attempt, sampler: Callable[[Any, int], Any], hyperband: bool = False) -> Result:
    """Search rate and weight decay of AdamW with half of the budget, and train the best with the other half."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    longest = max(1, round(attempt.epochs / (4 if hyperband else 2 * TRIALS)))
    pruner = optuna.pruners.HyperbandPruner(1, longest, 3) if hyperband else optuna.pruners.NopPruner()
    study = optuna.create_study(sampler=sampler(optuna, attempt.config["seed"]), pruner=pruner)
    spent, half = 0, attempt.epochs // 2
    while spent + longest <= half:
        trial = study.ask()
        optimizer = {**ADAMW, **{name: trial.suggest_float(name, *limits, log=True) for name, limits in SPACE.items()}}
        PrunedTrial.trial = trial if hyperband else None
        callback = {"callbacks": {"pruned": {"_target_": f"{PrunedTrial.__module__}.PrunedTrial"}}} if hyperband else {}
        run = attempt.train(longest, optimizer, **{"trainer.limit_test_batches": 0}, **callback)
        spent += run.summary["epochs"]
        pruned = run.summary.get("reason") == "pruned"
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        study.tell(trial, None if pruned else min(run.metric("val/loss"), 1e10), state)
    PrunedTrial.trial = None
    best = study.best_params
    last = attempt.train(attempt.epochs - spent, {**ADAMW, **best})
    return _result(attempt, last, attempt.epochs, **best, trials=len(study.trials))


def _tpe(optuna: Any, seed: int) -> Any:
    return optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)


def _random(optuna: Any, seed: int) -> Any:
    return optuna.samplers.RandomSampler(seed=seed)


def _lr_find(attempt: Attempt) -> Result:
    """Lightning's learning rate test, then torch's OneCycleLR with AdamW up to the rate that it suggests."""
    per_epoch, config = attempt.steps_per_epoch, plain(attempt.config)
    steps = min(LR_FIND_STEPS, round(LR_FIND_SHARE * attempt.epochs * per_epoch))
    config["optimizer"] = dict(ADAMW)
    config["schedule"] = None
    datamodule = build_datamodule(config)
    module = build_module(config, datamodule).module
    trainer = silent_trainer("cpu", max_epochs=-1, default_root_dir=str(attempt.directory), num_sanity_val_steps=0)
    finder = Tuner(trainer).lr_find(module, datamodule=datamodule, update_attr=False, num_training=steps)
    rate = (finder.suggestion() if finder else None) or 1e-3
    epochs = attempt.epochs - math.ceil(steps / per_epoch)
    cycle = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "_partial_": True, "max_lr": rate,
             "total_steps": epochs * per_epoch}  # fmt: skip
    trial = attempt.train(epochs, {**ADAMW, "lr": rate}, cycle)
    return _result(attempt, trial, epochs + steps / per_epoch, lr=rate)


def _recipe(attempt: Attempt) -> Result:
    """The command `recipe` as it is typed: without baselines, with one seed."""
    config, figures = attempt.config, list[float]()
    with timed_figures(figures):
        summary = RECIPE.carry_out(Job(plain(config), attempt.directory), config)
    row = summary["results"][0]
    score = row.get(attempt.score)
    return {
        "score": score,
        "epochs": attempt.epochs,
        "diverged": bool(row.get("diverged")),
        "chosen": {"overrides": summary["overrides_of_last_run"], "fallbacks": summary.get("fallbacks", [])},
        "seconds_of_report": summary.get("seconds_of_report", 0.0) + sum(figures),
    }


@contextmanager
def timed_figures(seconds: list[float]) -> Iterator[None]:
    """Add the processor time of each figure that a study saves within the block to a list."""

    def save(*arguments: Any) -> Any:
        began = time.process_time()
        paths = save_figure(*arguments)
        seconds.append(time.process_time() - began)
        return paths

    with patch.object(study, "save_figure", save):
        yield


RECIPE_SGD, RECIPE_ADAMW, ADAMW_COSINE = "recipe, SGD", "recipe, AdamW", "AdamW 1e-3, cosine"
RECIPES = (RECIPE_SGD, RECIPE_ADAMW)
# Further overrides of conf/recipe.yaml that a contender needs.
WORDS = {
    RECIPE_SGD: ("optimizer=sgd", "baselines=false"),
    RECIPE_ADAMW: ("optimizer=adamw", "baselines=false"),
}
CONTENDERS: dict[str, Contender] = {
    RECIPE_SGD: _recipe,
    RECIPE_ADAMW: _recipe,
    ADAMW_COSINE: partial(_fixed, ADAMW),
    "SGD 0.1, cosine": partial(_fixed, SGD),
    "SGD 0.01, cosine": partial(_fixed, {**SGD, "lr": 0.01}),
    "Optuna TPE": partial(_optuna, sampler=_tpe),
    "Optuna TPE, Hyperband": partial(_optuna, sampler=_tpe, hyperband=True),
    "random search": partial(_optuna, sampler=_random),
    "Prodigy, cosine": partial(_fixed, PRODIGY),
    "schedule-free AdamW": _schedule_free,
    "lr_find, OneCycle": _lr_find,
}
