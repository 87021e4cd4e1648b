"""Overrides of groups and sweeps without values are refused before Hydra composes a config."""

import pytest

from start_training.config.overrides import check_overrides, loader_of, options_of

LOADER = loader_of()
WRONG = {
    "optimizer=null": "optimizer = null: no such option; must be one of adam, adamw, ",
    "optimizer=5": "optimizer = 5: no such option; must be one of adam",
    "optimizer=": "optimizer = '': no such option; must be one of adam",
    "optimizer=[]": "optimizer = []: no such option; must be one of adam",
    "optimizer=[5]": "optimizer = [5]: no such option; must be one of adam",
    "optimizer={}": "optimizer = {}: no such option; must be one of adam",
    "optimizer=adam,null": "optimizer = null: no such option; must be one of adam",
    "callbacks@range_tests=true": "callbacks@range_tests = true: no such option; must be one of lengths, none",
    "hydra/launcher=1": "hydra/launcher = 1: no such option; must be one of basic,",
    "seed=range(0)": "seed = range(0): has no values, so that the sweep would have no jobs",
    "initializer=glob(zzz*)": "initializer = glob(zzz*): has no values, so that the sweep would have no jobs",
    "hydra=null": "hydra=null: must be the name of a setting",
    "=3": "=3: must be the name of a setting",
    "hydra.launcher=5": "hydra.launcher=5: must be chosen as a group, hydra/launcher=…",
}


@pytest.mark.parametrize("word", WRONG)
def test_a_value_that_cannot_be_an_option_or_a_sweep_names_the_setting(word):
    with pytest.raises(ValueError) as raised:
        check_overrides([word], LOADER)
    assert str(raised.value).startswith(WRONG[word])


@pytest.mark.parametrize("group", ["logger", "callbacks", "schedule", "family", "experiment", "readout_initializer"])
def test_an_optional_group_has_an_option_for_none_which_the_message_names(group):
    none = "same" if group == "readout_initializer" else "none"
    assert none in options_of(group, LOADER)
    with pytest.raises(ValueError, match=f"; type {group}={none} for none$"):
        check_overrides([f"{group}=null"], LOADER)


def test_right_overrides_pass():
    words = ["optimizer=adam", "logger=[csv,wandb]", "optimizer={lr:0.1}", "optimizer=glob(a*)", "seed=1,2",
             "seed=range(2)", "~callbacks", "+model.kernel=3", "model.widths=[]", "figure=null", "callbacks=none",
             "hydra/launcher=process", "hydra.launcher.jobs=2", "optimizer='adam'", "experiment=zhang/slope",
             "model=mine"]  # fmt: skip
    check_overrides(words, LOADER)  # Hydra knows whether the option `mine` exists
