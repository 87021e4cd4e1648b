"""A user's callback with the methods of the contracts, and no base class but Lightning's."""

import pytorch_lightning as pl
import torch
from torch import nn


class WeightNorm(pl.Callback):
    """The norm of all weights after every epoch; ends the run after `epochs` of them."""

    def __init__(self, *, epochs: int = 100) -> None:
        self.epochs = epochs
        self.norms: list[float] = []

    def note(self, net: nn.Module) -> bool:
        self.norms.append(float(torch.cat([weight.detach().flatten() for weight in net.parameters()]).norm()))
        return len(self.norms) >= self.epochs

    def summary(self):
        return {"weight_norms": self.norms}

    def sentence(self, summary, *, short=False):
        last = f"weight norm {summary['weight_norms'][-1]:.3f}"
        return last if short else f"after {summary['epochs']} epochs: {last}"

    def stop_reason(self):
        return f"{self.epochs} norms are enough" if len(self.norms) >= self.epochs else None

    def check_settings(self, datamodule):
        if datamodule.batch_size < self.epochs:
            raise ValueError(f"epochs = {self.epochs}: more than a batch")

    def state_dict(self):
        return {"norms": list(self.norms)}

    def load_state_dict(self, state_dict):
        self.norms = list(state_dict["norms"])

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = self.note(pl_module.net)

    def group_check(self, datamodule):
        if not datamodule.samples("test").size:
            raise ValueError("weight_norm: no test set")

    def group_start(self, run, moment):
        return False

    def group_period(self):
        return None

    def group_is_due(self, moment):
        return moment.epoch_ended

    @classmethod
    def group_measure(cls, due, moment):
        for own, run in due:
            run.should_stop = own.note(run.net)

    def group_flush(self):
        self.flushed = True

    def group_end(self):
        assert self.flushed


class Loud(WeightNorm):
    """Changes what it does in a Trainer, which a group would not know."""

    def on_train_epoch_end(self, trainer, pl_module):
        print(trainer.current_epoch)
