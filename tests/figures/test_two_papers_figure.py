"""χ of the weights beside the growth of lengths: what is drawn is what the weights and lengths say."""

import math

import numpy as np
import pandas as pd
import pytest

from src.figures.two_papers import draw_two_papers, mean_rates, over_seeds
from src.theory.activation import ACTIVATIONS
from src.theory.critical_point import chi, moments
from tests.figures.made import beneath, growing, growths, texts


def test_the_two_are_one_number_for_relu_without_biases_at_initialization_and_differ_elsewhere():
    rates = mean_rates(pd.concat([growing(J2=2.0), growing(initializer="lecun_normal", J2=1.0)]))
    at_first, later = rates[rates["step"] == 0], rates[rates["step"] == 40]
    np.testing.assert_allclose(at_first["log_chi"], [0, -math.log(2)], atol=1e-12)
    np.testing.assert_allclose(at_first["log_growth"], at_first["log_chi"], atol=1e-9)
    np.testing.assert_allclose(later["log_growth"] - later["log_chi"], 0.4, atol=1e-9)
    for settings in ({"activation": "tanh"}, {"bias_variance": 1.0, "J2": 0.5}):
        rates = mean_rates(growing(**settings))
        assert abs(rates["log_growth"] - rates["log_chi"])[0] > 0.1


def test_rates_are_those_of_the_theory_over_the_later_half_of_the_layers():
    rows = growing("gelu", J2=1.5, bias_variance=0.2)
    expected = []
    for _, row in rows[(rows["step"] == 20) & (rows["layer"] >= 2)].iterrows():
        q = row["J2"] * row["length_before"] + row["bias_variance"]
        factor = chi(ACTIVATIONS["gelu"], q, row["J2"])
        expected.append((math.log(factor), math.log(row["length"] / row["length_before"])))
        assert factor != pytest.approx(row["J2"] * moments(ACTIVATIONS["gelu"], q).second / q, rel=1e-3)
    rates = mean_rates(rows)
    found = rates[rates["step"] == 20][["log_chi", "log_growth"]].to_numpy()
    np.testing.assert_allclose(found, np.mean(expected, axis=0)[None], rtol=1e-6)


def test_each_activation_has_its_column_and_each_option_its_lines_means_over_seeds():
    rows = growths(noise=0.3)
    figure, rates = draw_two_papers(rows), mean_rates(rows)
    above, _, below, _ = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["ReLU", "tanh", "", ""]
    of_relu = rates[rates["activation"] == "relu"].groupby(["option", "step"], sort=False)
    for style, name in (("-", "log_chi"), ("--", "log_growth")):
        lines = [line for line in above.lines if line.get_linestyle() == style and len(line.get_xdata()) == 3]
        np.testing.assert_allclose(
            np.sort([line.get_ydata() for line in lines], axis=None), sorted(of_relu[name].mean())
        )
    means = over_seeds(rates)
    assert set(means["runs"]) == {3}
    [error] = means[(means["option"] == "He normal") & (means["step"] == 20)]["log_growth_error"][:1]
    of_one = of_relu.get_group(("He normal", 20))["log_growth"]
    assert error == pytest.approx(of_one.std(ddof=1) / math.sqrt(3)) and error > 0
    ends = [line for line in below.lines if line.get_marker() == "o"]
    assert len(ends) == 2 * 2 * 3  # the first and last of every run
    assert {"He normal", "LeCun normal", "log χ of the weights", "growth of lengths"} <= set(texts(figure))


def test_options_that_drew_the_same_weights_are_named():
    apart = pd.concat([growing(), growing(initializer="lecun_normal", J2=1.0)])
    same = pd.concat([apart, growing(initializer="critical")])
    assert beneath(draw_two_papers(same)).endswith("ReLU: He normal = critical.")
    assert "ReLU" not in draw_two_papers(apart).get_supxlabel()


def test_a_run_that_died_or_diverged_is_drawn_as_far_as_it_has_lengths():
    rows = growing()
    rows.loc[rows["step"] > 20, "length"] = np.inf
    assert set(mean_rates(rows)["step"]) == {0, 20}
    with pytest.raises(ValueError, match=r"^table: holds no layers of a known activation"):
        mean_rates(rows.assign(length=0.0))
