"""The expectations of the experiments of conf/, checked by machine: `start-training reproduce` does so.

An expectation is a pure function of the table that the experiment's figure is drawn from; the file of the papers'
authors holds it, under the name of the experiment.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from start_training.analysis.expectations import hanin_rolnick, smith, zhang
from start_training.analysis.expectations.quantity import Quantity

Check = Callable[[pd.DataFrame], list[Quantity]]


@dataclass(frozen=True)
class Expectation:
    """What a small experiment is expected to show.

    Args:
        check: on the data set of the paper; for simulations, which need no data, the only one.
        on_digits: on digits, which replace it if DATA_DIR does not have it; None: nothing is stated about digits.
    """

    check: Check
    on_digits: Check | None = None


EXPECTATIONS = {
    "hanin_rolnick/failure_mode_2": Expectation(hanin_rolnick.failure_mode_2),
    "hanin_rolnick/figure_1a": Expectation(hanin_rolnick.figure_1a),
    "hanin_rolnick/figure_1b": Expectation(hanin_rolnick.figure_1b, hanin_rolnick.figure_1b_on_digits),
    "hanin_rolnick/figure_2a": Expectation(hanin_rolnick.figure_2a),
    "hanin_rolnick/figure_2b": Expectation(hanin_rolnick.figure_2b, hanin_rolnick.figure_2b_on_digits),
    "hanin_rolnick/figure_3": Expectation(hanin_rolnick.figure_3, hanin_rolnick.figure_3_on_digits),
    "smith/cifar10_weight_decay": Expectation(smith.cifar10_weight_decay),
    "smith/largest_rate": Expectation(smith.largest_rate),
    "smith/super_convergence": Expectation(smith.super_convergence),
    "zhang/collapse": Expectation(zhang.collapse),
    "zhang/past_the_edge": Expectation(zhang.past_the_edge),
    "zhang/scaling": Expectation(zhang.scaling),
    "zhang/slope": Expectation(zhang.slope),
    "zhang/trajectory": Expectation(zhang.trajectory),
    "zhang/two_papers": Expectation(zhang.two_papers),
    "zhang/weight_decay": Expectation(zhang.weight_decay),
}
