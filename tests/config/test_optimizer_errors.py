"""Settings of an optimizer that fail in its constructor or in its step are named, and other errors are not its own."""

import pytest
import pytorch_lightning as pl
import torch

from start_training.config.mistakes import name_setting_in_errors
from start_training.runs.job import Job
from start_training.training.train import check_settings, train


class Failing(torch.optim.SGD):
    """An optimizer of the user's whose settings fail late: without annotations, and with errors of any class."""

    def __init__(self, params, lr=0.1, *, table="small", strict=False, factor=1):
        if table == "none":
            raise KeyError(table)
        super().__init__(params, lr)
        self.table, self.strict, self.factor = {"small": 1}, strict, table

    def step(self, closure=None):
        loss = super().step(closure)
        if self.strict:
            raise AssertionError("strict")
        self.table[self.factor]
        return loss


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strict": "foo"}, r"optimizer.strict = 'foo': must be true or false"),
        ({"factor": "foo"}, r"optimizer.factor = 'foo': must be a number"),
        ({"table": "none"}, r"optimizer: KeyError: 'none'; one of its settings must change: .*table = 'none'"),
        ({"table": "large"}, r"optimizer: KeyError: 'large'; one of its settings must change: .*table = 'large'"),
        ({"strict": True}, r"optimizer: AssertionError: strict; one of its settings must change: .*strict = True"),
    ],
)
def test_a_setting_that_fails_in_the_optimizer_is_named(config, tmp_path, settings, message):
    made = config("callbacks=none")
    made["optimizer"] = {"_target_": f"{__name__}.Failing", "_partial_": True, "lr": 0.1, **settings}
    with pytest.raises(ValueError, match=f"^{message}"):
        train(Job(made, tmp_path / "run"))


def test_settings_of_prodigy_that_need_another_machine_are_named(config, tmp_path):
    made = config("callbacks=none", "optimizer=prodigy", "schedule=none")
    made["optimizer"]["fsdp_in_use"] = "foo"
    with pytest.raises(ValueError, match=r"^optimizer.fsdp_in_use = 'foo': must be true or false"):
        check_settings(made)
    if not torch.cuda.is_available():
        made["optimizer"]["fsdp_in_use"] = True
        with pytest.raises(ValueError, match=r"^optimizer: RuntimeError: .*fsdp_in_use = True"):
            train(Job(made, tmp_path / "run"))


class Module(pl.LightningModule):
    def training_step(self, error):
        raise error


@pytest.mark.parametrize("error", [KeyError("in the net"), torch.OutOfMemoryError("full"), RuntimeError("gloo/x")])
def test_an_error_of_the_training_step_of_memory_or_of_a_connection_is_not_the_optimizers(error):
    module, optimizer = Module(), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(type(error)), name_setting_in_errors({"optimizer": {"_target_": "torch.optim.SGD"}}):
        optimizer.step(lambda: module.training_step(error))
