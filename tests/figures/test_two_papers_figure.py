"""χ of the weights beside the growth of lengths: what is drawn is what the weights and lengths say."""

import math

import numpy as np
import pandas as pd
import pytest

from src.figures.two_papers import draw_two_papers, mean_rates, over_seeds
from src.theory.activation import ACTIVATIONS
from src.theory.critical_point import chi, length_map, moments
from tests.figures.test_simulation_figures import texts

LAYERS, STEPS = 4, [0, 20, 40]


def run(activation="relu", initializer="he_normal", seed=0, *, J2=2.0, bias_variance=0.0, noise=0.0):
    """Rows of a run whose lengths follow the length map, at later steps by e^(step/100) per layer more."""
    rows, random = [], np.random.default_rng(seed)
    for step in STEPS:
        length = 1.0
        for layer in range(LAYERS):
            q = J2 * length + bias_variance
            after = length_map(ACTIVATIONS[activation], q, 1.0) * math.exp(step / 100 + noise * random.normal())
            facts = {"activation": activation, "initializer": initializer, "seed": seed, "layer": layer, "step": step}
            rows.append({**facts, "J2": J2, "bias_variance": bias_variance, "length_before": length, "length": after})
            length = after
    configuration = f"{activation} {initializer}"
    return pd.DataFrame(rows).assign(
        directory=f"{configuration} {seed}", configuration=configuration, final_accuracy=0.9
    )


def table(**noise):
    return pd.concat(
        run(activation, initializer, seed, J2=J2, **noise)
        for activation in ("relu", "tanh")
        for initializer, J2 in (("he_normal", 2.0), ("lecun_normal", 1.0))
        for seed in (0, 1, 2)
    )


def test_the_two_are_one_number_for_relu_without_biases_at_initialization():
    rates = mean_rates(pd.concat([run(J2=2.0), run(initializer="lecun_normal", J2=1.0)]))
    at_first, later = rates[rates["step"] == 0], rates[rates["step"] == 40]
    np.testing.assert_allclose(at_first["log_chi"], [0, -math.log(2)], atol=1e-12)
    np.testing.assert_allclose(at_first["log_growth"], at_first["log_chi"], atol=1e-9)
    np.testing.assert_allclose(later["log_growth"] - later["log_chi"], 0.4, atol=1e-9)


@pytest.mark.parametrize("settings", [{"activation": "tanh"}, {"bias_variance": 1.0, "J2": 0.5}], ids=str)
def test_the_two_differ_for_tanh_and_with_biases(settings):
    rates = mean_rates(run(**settings))
    assert abs(rates["log_growth"] - rates["log_chi"])[0] > 0.1


def test_rates_are_those_of_the_theory_over_the_later_half_of_the_layers():
    rows = run("gelu", J2=1.5, bias_variance=0.2)
    expected = []
    for _, row in rows[(rows["step"] == 20) & (rows["layer"] >= 2)].iterrows():
        q = row["J2"] * row["length_before"] + row["bias_variance"]
        factor = chi(ACTIVATIONS["gelu"], q, row["J2"])
        expected.append((math.log(factor), math.log(row["length"] / row["length_before"])))
        assert factor != pytest.approx(row["J2"] * moments(ACTIVATIONS["gelu"], q).second / q, rel=1e-3)
    rates = mean_rates(rows)
    found = rates[rates["step"] == 20][["log_chi", "log_growth"]].to_numpy()
    np.testing.assert_allclose(found, np.mean(expected, axis=0)[None], rtol=1e-6)


def test_means_and_errors_are_those_over_seeds():
    rates = mean_rates(table(noise=0.3))
    means = over_seeds(rates)
    assert set(means["runs"]) == {3}
    row = means[(means["activation"] == "tanh") & (means["option"] == "LeCun normal") & (means["step"] == 20)].iloc[0]
    of_runs = rates[(rates["activation"] == "tanh") & (rates["option"] == "LeCun normal") & (rates["step"] == 20)]
    assert row["log_growth"] == pytest.approx(of_runs["log_growth"].mean())
    assert row["log_growth_error"] == pytest.approx(of_runs["log_growth"].std(ddof=1) / math.sqrt(3))
    assert row["log_growth_error"] > 0


def test_each_activation_has_its_column_and_each_option_its_lines():
    rows = table(noise=0.3)
    figure = draw_two_papers(rows, title="two")
    above, _, below, _ = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["ReLU", "tanh", "", ""]
    means = over_seeds(mean_rates(rows))
    solid = [line for line in above.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == len(STEPS)]
    dashed = [line for line in above.lines if line.get_linestyle() == "--"]
    of_relu = means[means["activation"] == "relu"].sort_values("option", kind="stable")
    for lines, name in ((solid, "log_chi"), (dashed, "log_growth")):
        drawn = np.concatenate([line.get_ydata() for line in lines])
        np.testing.assert_allclose(drawn, of_relu[name])
    ends = [line for line in below.lines if line.get_marker() == "o"]
    assert len(ends) == 2 * 2 * 3  # the first and last of every run
    assert {"He normal", "LeCun normal", "log χ of the weights", "growth of lengths"} <= set(texts(figure))
    assert figure.get_suptitle() == "two"


def test_options_that_drew_the_same_weights_are_named():
    rows = pd.concat([run(), run(initializer="critical"), run(initializer="lecun_normal", J2=1.0)])
    beneath = draw_two_papers(rows).get_supxlabel().replace("\n", " ")
    assert beneath.endswith("ReLU: He normal = critical.")
    alone = draw_two_papers(pd.concat([run(), run(initializer="lecun_normal", J2=1.0)]))
    assert "ReLU" not in alone.get_supxlabel()


def test_a_run_that_died_or_diverged_is_drawn_as_far_as_it_has_lengths():
    rows = run()
    rows.loc[rows["step"] > 20, "length"] = np.inf
    assert set(mean_rates(rows)["step"]) == {0, 20}
    rows["length"] = 0.0
    with pytest.raises(ValueError, match=r"^table: holds no layers of a known activation"):
        mean_rates(rows)


@pytest.mark.parametrize(
    "rows, by, message",
    [
        (run(), "colour", "by = colour: "),
        (run().assign(activation=None), "initializer", "table: holds no layers of a known activation"),
        (run()[:0], "initializer", "table: holds no layers"),
    ],
    ids=["column", "activation", "empty"],
)
def test_what_cannot_be_drawn_is_a_mistake(rows, by, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        draw_two_papers(rows, by=by)
