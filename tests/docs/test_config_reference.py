"""The reference of the configuration has every key of conf/, with a type and a meaning."""

import re
from pathlib import Path

import config_reference as reference
import config_words
import pytest
import yaml

NOT_SETTINGS = {"_target_", "_partial_", "_recursive_", "_convert_", "defaults"}
COMMANDS = sorted(reference.CONF.glob("*.yaml"))
OPTIONS = [(group, file) for group in reference.GROUPS for file in sorted((reference.CONF / group).glob("*.yaml"))]


def names(config: dict, prefix: str = "") -> set[str]:
    """The dotted names of the values of a config, without a look at how the reference reads it."""
    found = set()
    for key, value in config.items():
        if isinstance(value, dict) and value and not {"low", "high"} <= set(value):
            found |= names(value, f"{prefix}{key}.")
        elif key not in NOT_SETTINGS:
            found.add(f"{prefix}{key}")
    return found


def unexplained(keys: list) -> list:
    """The keys without a type, or whose meaning is none or cannot be understood alone."""
    return [key for key in keys if re.match(r"$|See |or ", key.meaning) or key.type in ("", "any", "null")]


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.stem)
def test_every_key_of_a_command_has_a_type_and_a_meaning(file):
    keys = reference.command_keys(file)
    config = {key: value for key, value in yaml.safe_load(file.read_text()).items()
              if key != "hydra" and not (reference.CONF / key).is_dir()}  # fmt: skip
    assert {key.name for key in keys} == names(config)
    assert not unexplained(keys)


@pytest.mark.parametrize("group, file", OPTIONS, ids=lambda part: part if isinstance(part, str) else part.stem)
def test_every_key_of_an_option_has_a_type_and_a_meaning(group, file):
    keys, config = reference.option_keys(group, file), yaml.safe_load(file.read_text())
    prefix = "" if group == "family" else group.replace("/", ".") + "."
    assert {key.name for key in keys} == names(config, prefix)
    assert not unexplained(keys)
    assert reference.header(file)


def test_every_group_is_in_the_reference():
    folders = {str(file.parent.relative_to(reference.CONF)) for file in reference.CONF.rglob("*.yaml")}
    other = {".", "hydra/help"} | {folder for folder in folders if folder.startswith("experiment")}
    assert folders - other == set(reference.GROUPS)


def test_defaults_types_and_meanings_are_those_of_conf_and_the_constructors():
    rows = {key.name: key for key in reference.option_keys("model", reference.CONF / "model" / "fully_connected.yaml")}
    assert (rows["model.depth"].default, rows["model.depth"].type) == ("10", "integer or null")
    assert "relu, tanh" in rows["model.activation"].meaning
    rows = {key.name: key for key in reference.option_keys("optimizer", reference.CONF / "optimizer" / "sgd.yaml")}
    assert rows["optimizer.nesterov"].type == "true or false" and "Nesterov" in rows["optimizer.nesterov"].meaning


def test_a_comment_may_go_on_in_the_next_lines(tmp_path):
    (tmp_path / "mine.yaml").write_text("a: 1 # one,\n  # and more\n# not this\nb: text # two\n")
    keys = reference.option_keys("schedule", tmp_path / "mine.yaml")
    assert [(key.name, key.type, key.meaning) for key in keys] == [
        ("schedule.a", "integer", "one, and more"),
        ("schedule.b", "text", "two"),
    ]


def test_text_is_shown_as_it_stands():
    assert (
        config_words.plain("a node with _target_, W ∗ [x|y] and `_code_`")
        == r"a node with \_target\_, W ∗ \[x\|y] and `_code_`"
    )


def test_each_page_of_the_reference_is_filled_in():
    for name in reference.GENERATED:
        page = Path(reference.__file__).parent / "reference" / f"{name}.md"
        assert f"<!-- generated: {name} -->" in page.read_text()
        text = reference.on_page_markdown(f"<!-- generated: {name} -->")
        assert "## " in text and "<!--" not in text
    for experiment in ("hanin_rolnick/figure_3", "smith/largest_rate", "zhang/trajectory"):
        assert f"## {experiment}\n\n**Claim.**" in text
