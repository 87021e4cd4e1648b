"""At which learning rate, momentum and weight decay each replica takes its steps."""

from collections.abc import Sequence

import torch

from start_training.replicas.optimizer import Settings
from start_training.replicas.replica import Replica


class Rates:
    """Of an epoch's steps, brought to the device at once: during the epoch nothing waits for it."""

    def __init__(self, replicas: Sequence[Replica], steps: range) -> None:
        self._scheduled = replicas[0].schedule is not None
        self._first = steps.start
        steps = steps if self._scheduled else steps[:1]
        self._settings = _settings(replicas, steps)
        self._moving = [any(replica.momentum(step) for replica in replicas) for step in steps]

    def at(self, step: int) -> Settings:
        """Of a step of the epoch, (R, 1) each."""
        row = step - self._first if self._scheduled else 0
        return self._settings.each(lambda column: column[row])._replace(moving=self._moving[row])

    def keep(self, rows: Sequence[int]) -> None:
        """Let the other replicas go."""
        index = torch.tensor(list(rows), device=self._settings.rate.device)
        self._settings = self._settings.each(lambda column: column.index_select(1, index))


def _settings(replicas: Sequence[Replica], steps: range) -> Settings:
    """(steps, R, 1) each."""
    groups = [replica.optimizer.param_groups[0] for replica in replicas]
    device = groups[0]["params"][0].device
    rates = [[replica.rate(step) for replica in replicas] for step in steps]
    momenta = [[replica.momentum(step) for replica in replicas] for step in steps]
    decays = [[float(group["weight_decay"]) for group in groups]] * len(steps)
    betas = [[float(group["betas"][1]) if "betas" in group else 0.0 for group in groups]] * len(steps)
    rate, momentum, decay, beta2 = (torch.tensor(each, dtype=torch.float64) for each in (rates, momenta, decays, betas))
    settings = Settings(rate, momentum, decay, beta2, decaying=bool(decay.any()))
    return settings.each(lambda column: column.unsqueeze(2).to(device))
