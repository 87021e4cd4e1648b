"""The figure of super-convergence: error curves, final errors, and the sentence on the epochs to reach an error."""

import numpy as np
import pytest

from start_training.analysis.error_curves import error_curves, final_errors
from start_training.figures.super_convergence import reached_text, with_options
from tests.figures.made import ERRORS, errors


def test_curves_are_means_over_seeds_with_their_standard_errors():
    curves = error_curves(with_options(errors(), ["schedule"])).set_index(["configuration", "epochs"])
    assert curves.loc[("one_cycle_2", 2), "mean"] == pytest.approx(4)
    assert curves.loc[("one_cycle_2", 2), "error"] == pytest.approx(np.std([4, 5, 3], ddof=1) / 3**0.5)
    assert curves["runs"].eq(3).all()  # epochs that a seed has not reached are left out
    table = errors(inverse_6=[*ERRORS["inverse_6"][:2], [22, 11, 8]])
    curves = error_curves(with_options(table, ["schedule"]))
    assert curves[curves["configuration"] == "inverse_6"]["epochs"].tolist() == [1, 2, 3]
    ends = final_errors(with_options(table, ["schedule"])).set_index("configuration")
    assert ends["runs"].to_dict() == {"one_cycle_2": 3, "inverse_2": 3, "inverse_6": 2}


def test_the_test_error_is_that_of_each_run_after_its_last_epoch():
    ends = final_errors(with_options(errors(), ["schedule", "optimizer.lr"])).set_index("configuration")
    assert ends["mean"].to_dict() == pytest.approx({"one_cycle_2": 4.5, "inverse_2": 11.5, "inverse_6": 3.5})
    assert ends["epochs"].to_dict() == {"one_cycle_2": 2, "inverse_2": 2, "inverse_6": 6}
    assert ends["error"]["inverse_2"] == pytest.approx(1 / 3**0.5)
    assert ends["option"].unique().tolist() == ["1cycle, lr 0.1", "inverse decay, lr 0.1"]


def text_of(**changes: list[list[float]]) -> str:
    return reached_text(error_curves(with_options(errors(**changes), ["schedule"])))


def test_the_caption_says_when_other_options_reach_the_error_of_the_best_short_run():
    start = "1cycle has a validation error of 4.00 ± 0.58% after 2 epochs. This error is reached by inverse decay"
    assert text_of() == f"{start} after 5 of 6 epochs."
    assert text_of(inverse_6=[[20, 12, 9, 8, 7, 6]] * 3) == f"{start} not within 6 epochs."
    assert text_of(one_cycle_2=[[20, 15]] * 3) == (  # inverse decay is the best short run
        "inverse decay has a validation error of 11.00 ± 0.58% after 2 epochs. "
        "This error is reached by 1cycle not within 2 epochs; inverse decay after 2 of 6 epochs."
    )
