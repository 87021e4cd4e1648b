"""Tests of `layer_table`: its columns for each kind of net, and their values."""

from functools import partial

import numpy as np
import pytest
import torch

from start_training.ensembles.estimate import log_mean, log_mean_by_ratios, log_moment_ratio, log_moment_ratio_by_ratios
from start_training.ensembles.layer_table import layer_table
from start_training.ensembles.sample import Ensemble
from start_training.initializers.torch_default import TorchDefault
from start_training.initializers.variance_scaling import VarianceScaling
from start_training.models.convolutional import Convolutional
from start_training.models.fully_connected import FullyConnected
from start_training.models.residual import Residual

HE = VarianceScaling(2.0)
UNIFORM = VarianceScaling(2.0, distribution="uniform")
ESTIMATES = [
    column
    for name in ("log_mean", "log_moment_ratio", "log_variance", "log_layer_variance")
    for column in (name, f"{name}_error")
]
MEASURED = [*ESTIMATES, "low", "median", "high", "dead"]
MEAN = ["log_mean_theory"]
RATIO = ["log_moment_ratio_low_theory", "log_moment_ratio_high_theory"]
LAW = [f"{column}_law" for column in MEASURED]
DENSE = partial(FullyConnected, 6, 2, widths=[8, 5, 7])
ADDING = partial(Residual, 6, 2, modules=3, width=6)
CASES = {
    "gaussian": (DENSE, HE, [*MEAN, *RATIO, "beta", *LAW]),
    "biases": (DENSE, TorchDefault(), [*MEAN, *RATIO, "beta"]),
    "dropout": (partial(DENSE, dropout=0.5), HE, [*MEAN, "beta"]),
    "tanh": (partial(DENSE, activation="tanh"), HE, []),
    "residual": (ADDING, HE, [*MEAN, *RATIO, "sum_of_scales", *LAW]),
    "residual, uniform": (ADDING, UNIFORM, [*MEAN, "sum_of_scales"]),
}


def logs_of(build, initializer, nets=300):
    inputs = 3 * torch.randn(nets, 6, generator=torch.Generator().manual_seed(0))
    return np.concatenate(list(Ensemble(build, initializer, inputs).log_lengths(nets)))


def table_of(logs, law=None):
    return layer_table(logs, ["input", *(f"layer {j}" for j in range(1, logs.shape[1]))], law)


@pytest.mark.parametrize("build, initializer, of_theory", CASES.values(), ids=CASES)
def test_a_table_has_a_row_for_each_layer_and_the_columns_that_theory_predicts(build, initializer, of_theory):
    table = table_of(logs_of(build, initializer), build().law(initializer))
    assert list(table["layer"]) == [0, 1, 2, 3]
    assert list(table["name"]) == ["input", "layer 1", "layer 2", "layer 3"]
    assert list(table.columns) == ["layer", "name", *MEASURED, *of_theory]
    assert list(table_of(logs_of(build, initializer)).columns) == ["layer", "name", *MEASURED]
    assert not table[of_theory].drop(columns=[c for c in of_theory if "layer_variance" in c]).isna().any(axis=None)


def test_means_are_estimated_by_ratios_only_without_biases():
    logs = logs_of(DENSE, HE)
    by_ratios, plain = table_of(logs, DENSE().law(HE)), table_of(logs, DENSE().law(TorchDefault()))
    np.testing.assert_array_equal(by_ratios["log_mean"], log_mean_by_ratios(logs).value)
    np.testing.assert_array_equal(by_ratios["log_moment_ratio"], log_moment_ratio_by_ratios(logs).value)
    np.testing.assert_array_equal(plain["log_mean"], log_mean(logs).value)
    np.testing.assert_array_equal(plain["log_moment_ratio"], log_moment_ratio(logs).value)


def test_columns_of_the_law_are_estimates_from_nets_of_the_exact_law():
    table = table_of(logs_of(DENSE, HE, nets=4000), DENSE().law(HE))[1:]
    for column in ("log_mean", "log_moment_ratio", "log_variance"):
        error = np.hypot(table[f"{column}_error"], table[f"{column}_error_law"])
        assert (np.abs(table[column] - table[f"{column}_law"]) < 4 * error).all()
    assert (table["low_law"] < table["median"]).all()
    assert (table["median"] < table["high_law"]).all()
    logs = logs_of(DENSE, HE)
    logs[::3, 2:] = -np.inf
    assert table_of(logs)["dead"][2] == np.isneginf(logs[:, 2]).mean() > 0.3
    living = np.where(np.isfinite(logs), logs - logs[:, :1], np.nan)[:, 1]
    low, high = np.nanquantile(living, [0.05, 0.95])
    assert table_of(logs)[["low", "high"]].to_numpy()[1] == pytest.approx([low, high])


def test_the_mean_is_predicted_for_inputs_of_different_lengths():
    inputs = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    logs = np.concatenate(list(Ensemble(DENSE, TorchDefault(), inputs).log_lengths(20_000)))
    table = table_of(logs, DENSE().law(TorchDefault()))[1:]
    assert (np.abs(table["log_mean"] - table["log_mean_theory"]) < 4 * table["log_mean_error"]).all()
    of_mean_length = DENSE().law(TorchDefault()).log_mean_length(np.log(np.exp(logs[:, 0]).mean()))
    wrong = of_mean_length - np.log(np.exp(logs[:, 0]).mean())
    assert (np.abs(table["log_mean"] - wrong) > 4 * table["log_mean_error"]).all()


@pytest.mark.parametrize("residual", [False, True])
def test_a_convolutional_net_has_columns_for_its_mean_and_for_bounds_if_not_residual(residual):
    net = Convolutional((1, 4, 4), 2, depth=3, channels=5, residual=residual)
    logs = np.random.default_rng(0).normal(size=(50, 4))
    table = layer_table(logs, list("abcd"), net.law(HE))
    assert "log_mean_theory" in table
    assert not {"beta", "log_mean_law"} & set(table)
    assert ("sum_of_scales" in table) == residual
    assert ("log_moment_ratio_high_theory" in table) != residual
