"""The config hash depends only on settings that determine the result, and not on the order of keys."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from start_training.runs.config_hash import config_hash

CONFIG = {
    "seed": 0,
    "model": {"depth": 3},
    "datamodule": {"batch_size": 8, "data_dir": "here"},
    "trainer": {"max_epochs": 2, "devices": 1, "accelerator": "cpu", "strategy": "auto"},
    "logger": {"csv": {}},
}
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
CONFIGS = st.dictionaries(st.sampled_from("abcd"), LEAVES | st.dictionaries(st.sampled_from("ab"), LEAVES))


def reordered(value, shuffle):
    if not isinstance(value, dict):
        return value
    items = [(key, reordered(item, shuffle)) for key, item in value.items()]
    shuffle(items)
    return dict(items)


@given(CONFIGS, st.sampled_from("abe"), LEAVES)
def test_the_order_of_keys_does_not_change_the_hash_but_a_new_or_changed_key_does(config, key, value):
    assert config_hash(reordered(config, random.Random(0).shuffle)) == config_hash(config)
    more = {"model": {**config, key: value}}
    same = key in config and config[key] == value and type(config[key]) is type(value)
    assert (config_hash(more) == config_hash({"model": config})) == same


WATCHING = ("hydra", "logger", "paths", "ckpt_path", "figure", "progress", "script", "size")


@pytest.mark.parametrize("key", ["accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar",
                                 "default_root_dir", "data_dir", "max_epochs", "batch_size", "new"])  # fmt: skip
def test_the_hash_ignores_hardware_and_paths_but_no_other_setting(key):
    ignored = key not in ("max_epochs", "batch_size", "new")
    group = "datamodule" if key in CONFIG["datamodule"] else "trainer"
    assert (config_hash({**CONFIG, group: {**CONFIG[group], key: 64}}) == config_hash(CONFIG)) == ignored
    assert config_hash({**CONFIG, "model": {**CONFIG["model"], key: 64}}) != config_hash(CONFIG)  # counts in model
    assert config_hash({**CONFIG, **dict.fromkeys(WATCHING, key)}) == config_hash(CONFIG)
    assert config_hash({**CONFIG, key: 0}) != config_hash(CONFIG)


def test_a_hash_has_twelve_digits_and_does_not_change_between_versions():
    assert config_hash({"seed": 0, "model": {"depth": 3}}) == "71fe7ff94dbe"
