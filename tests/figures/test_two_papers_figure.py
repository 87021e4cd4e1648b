"""The figure of log χ and the growth of lengths: rates, their means, and options whose curves coincide."""

import math

import numpy as np
import pandas as pd
import pytest

from start_training.analysis.chi_and_growth import rates_over_seeds
from start_training.figures.two_papers import draw_two_papers
from start_training.theory.activation import ACTIVATIONS
from start_training.theory.critical_point import chi, moments
from tests.figures.made import beneath, growing, growths, rates_of


def test_log_chi_is_the_growth_of_lengths_only_for_relu_without_biases_at_initialization():
    rates = rates_of(pd.concat([growing(J2=2.0), growing(initializer="lecun_normal", J2=1.0)]))
    at_first, later = rates[rates["step"] == 0], rates[rates["step"] == 40]
    np.testing.assert_allclose(at_first["log_chi"], [0, -math.log(2)], atol=1e-12)
    np.testing.assert_allclose(at_first["log_growth"], at_first["log_chi"], atol=1e-9)
    np.testing.assert_allclose(later["log_growth"] - later["log_chi"], 0.4, atol=1e-9)
    for settings in ({"activation": "tanh"}, {"bias_variance": 1.0, "J2": 0.5}):
        rates = rates_of(growing(**settings))
        assert abs(rates["log_growth"] - rates["log_chi"])[0] > 0.1


def test_rates_agree_with_theory_over_the_later_half_of_the_layers():
    rows = growing("gelu", J2=1.5, bias_variance=0.2)
    expected = []
    for _, row in rows[(rows["step"] == 20) & (rows["layer"] >= 2)].iterrows():
        q = row["J2"] * row["length_before"] + row["bias_variance"]
        factor = chi(ACTIVATIONS["gelu"], q, row["J2"])
        expected.append((math.log(factor), math.log(row["length"] / row["length_before"])))
        assert factor != pytest.approx(row["J2"] * moments(ACTIVATIONS["gelu"], q).second / q, rel=1e-3)
    rates = rates_of(rows)
    found = rates[rates["step"] == 20][["log_chi", "log_growth"]].to_numpy()
    np.testing.assert_allclose(found, np.mean(expected, axis=0)[None], rtol=1e-6)


def test_rates_over_seeds_are_means_with_standard_errors():
    rates = rates_of(growths(noise=0.3))
    means = rates_over_seeds(rates).query("option == 'He normal' and activation == 'relu' and step == 20")
    of_one = rates.query("option == 'He normal' and activation == 'relu' and step == 20")["log_growth"]
    assert (means["runs"].item(), means["log_growth"].item()) == (3, pytest.approx(of_one.mean()))
    assert means["log_growth_error"].item() == pytest.approx(of_one.std(ddof=1) / math.sqrt(3)) != 0


def test_coinciding_options_are_named_and_a_diverged_run_is_drawn_while_its_lengths_are_finite():
    apart = pd.concat([growing(), growing(initializer="lecun_normal", J2=1.0)])
    same = pd.concat([apart, growing(initializer="critical")])
    assert beneath(draw_two_papers(same)).endswith("ReLU: the curves of He normal and critical coincide.")
    assert "ReLU" not in draw_two_papers(apart).get_supxlabel()
    rows = growing()
    rows.loc[rows["step"] > 20, "length"] = np.inf
    assert set(rates_of(rows)["step"]) == {0, 20}
