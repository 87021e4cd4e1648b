"""Settings beside the groups are checked, and typed settings without effect are refused."""

import pytest
from omegaconf import OmegaConf

from start_training.config.composed import plain
from start_training.config.top_level import check_effects, check_top_level
from start_training.settings import named_in
from tests.composing import composed_of


@pytest.mark.parametrize("setting", ["seed", "depth", "compile", "progress", "size", "ckpt_path", "figure"])
@pytest.mark.parametrize("value", [-1, 0.5, float("nan"), "foo", "", [], [1], 2**63])
def test_a_wrong_value_is_refused_by_name(setting, value):
    if (setting, value) in (("ckpt_path", "foo"), ("depth", 2**63)):
        return  # the name of a file; the net is too large, which building it reports
    with pytest.raises(ValueError, match=f"^{setting} = .*: must be") as raised:
        check_top_level({setting: value})
    assert named_in(str(raised.value)) == setting


NO_EFFECT = {
    "train model.widths=[10] model.depth=4": r"model.depth = 4: has no effect with model.widths = \[10\]",
    "train model.widths=[10] model.width=4": r"model.width = 4: has no effect with model.widths = \[10\]",
    "train model.depth=3 model=residual model.eta=2": "model.eta = 2: has no effect with scales = geometric",
    "picture model.base=0.5": "model.base = 0.5: has no effect with residual = false",
    "train size=small": "size = small: has no effect; must only be set with experiment=",
    "train depth=3": "depth = 3: only used with family=… or experiment=…",
    "simulate depth=3": "depth = 3: only used with family=… or experiment=…",
    "train family=alternating": "depth = null: must be a whole number of at least 1",
}


@pytest.mark.parametrize("line", NO_EFFECT)
def test_a_setting_without_effect_is_refused(line):
    script, *words = line.split()
    with pytest.raises(ValueError, match=f"^{NO_EFFECT[line]}"):
        check_effects(composed_of(script, *words), words)


def test_an_empty_mapping_changes_nothing():
    with pytest.raises(ValueError, match=r"^thresholds = {}: has no effect; must be changed by its keys"):
        check_effects(composed_of("diagnose"), ["thresholds={}"])


@pytest.mark.parametrize(
    "line",
    [
        "train model.widths=[10,10] model.depth=2 model.width=10",  # what the list says, too
        "train family=alternating depth=3",
        "train model=residual model.scales=constant model.eta=2",
        "train experiment=zhang/two_papers size=small",
        "diagnose model.widths={}",
    ],
)
def test_a_setting_with_effect_is_not_refused(line):
    script, *words = line.split()
    check_effects(composed_of(script, *words), words)


def test_options_for_none_give_the_same_config_hash():
    from start_training.runs.config_hash import config_hash

    none = ("readout_initializer=same", "schedule=none", "family=none", "experiment=none")
    with_none, without = (plain(OmegaConf.create(composed_of("train", *words))) for words in (none, ()))
    assert config_hash(with_none) == config_hash(without)
    assert config_hash(with_none) != config_hash({**without, "readout_initializer": {"_target_": "a.b"}})
