"""What an optimizer uses at each step under a schedule."""

import numpy as np
import torch

from src.schedules.schedule import momentum_of


def optimizer_of(kind=torch.optim.SGD, *, rates=(1.0,), **settings):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return kind(groups, **({"momentum": 0.9} if kind is torch.optim.SGD else {}) | settings)


def trace(schedule, steps, optimizer=None):
    """What each step uses: rates (steps, groups) and momenta (steps,), read off the optimizer before it."""
    optimizer = optimizer or optimizer_of()
    scheduler, rates, momenta = schedule(optimizer), [], []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        momenta.append(momentum_of(optimizer.param_groups[0]))
        optimizer.step()
        scheduler.step()
    return np.array(rates), np.array(momenta, dtype=float)
