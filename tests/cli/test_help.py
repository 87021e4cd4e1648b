"""What COMMAND --help says can be typed: its settings, groups and examples exist in the config of the command."""

import re
import shlex
import time
from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from start_training.cli.commands import COMMANDS, main, resolve_function
from start_training.cli.help import CONF, UNKNOWN, WIDTH, default_of, options_of_groups, texts
from start_training.config.composed import check_script, plain, register_resolvers

register_resolvers()
COMPOSED = [name for name, command in COMMANDS.items() if command.arguments != "words"]
EXAMPLES = [example for text in texts().values() for example in text["examples"]]
OWN = ("own", "none", "auto", "same", "basic", "joblib", "submitit_slurm")  # need what is not in conf/, or do nothing
CHANGED = re.compile(r"[\[\]{}()*?$!&|;<>#\\]|^[~=]|\s")  # what bash or zsh changes in a word without quotes
each_composed = pytest.mark.parametrize("name", COMPOSED)
each_command = pytest.mark.parametrize("name", COMMANDS)


@cache
def composed(name: str, *words: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(words), return_hydra_config=True)


@pytest.fixture
def help_of(capsys, monkeypatch):
    """A function that returns the lines that a command prints."""

    def lines(*words: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["start-training", *words])
        try:
            main()
        except SystemExit as end:  # argparse
            assert not end.code
        return capsys.readouterr().out.splitlines()

    return lines


def section(lines: list[str], heading: str) -> list[str]:
    """Return the lines below a heading, up to the next empty line."""
    start = next(number for number, line in enumerate(lines) if line.startswith(heading)) + 1
    return lines[start : lines.index("", start) if "" in lines[start:] else None]


@each_command
def test_help_has_three_examples_and_fits_in_99_columns(name, help_of):
    before = time.process_time()
    lines = help_of(name, "--help")
    assert time.process_time() - before < 0.5
    assert max(map(len, lines)) <= WIDTH == 99
    assert lines[0].startswith(f"usage: start-training {name} ")
    examples = section(lines, "Examples:")
    assert len(examples) == 3 and all(line.startswith(f"  start-training {name} ") for line in examples)


@each_composed
def test_help_names_ten_settings_on_a_line_each_with_the_defaults_of_the_config(name, help_of):
    config = composed(name)
    rows = [line.split(None, 1) for line in section(help_of(name, "-h"), "Settings")]
    assert len(rows) == 10 and all(len(row) == 2 for row in rows)
    for key, _, shown in (setting.partition("=") for setting, _ in rows):
        value = OmegaConf.select(config, key, default=UNKNOWN, throw_on_missing=True)
        assert value is not UNKNOWN, key
        if shown != "…":
            typed = OverridesParser.create().parse_override(f"{key}={shown}").value()
            assert typed == (OmegaConf.to_container(value) if OmegaConf.is_list(value) else value), key


def test_a_key_that_no_file_has_is_unknown():
    config = {"defaults": [{"model": "deep_convolutional"}, "_self_"], "model": {"depth": 5}}
    assert default_of("model.nosuch", config) is UNKNOWN
    assert [default_of(f"model.{key}", config) for key in ("depth", "channels", "padding")] == [5, 256, "circular"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_pasted_and_composes(example, monkeypatch):
    program, name, *words = shlex.split(example)
    assert program == "start-training"
    quoted = re.findall(r"\S+", re.sub(r"'[^']*'", "", example))
    assert not any(CHANGED.search(word) for word in quoted)
    if COMMANDS[name].arguments == "words":
        return  # tested below
    overrides = OverridesParser.create().parse_overrides([word for word in words if word != "-m"])
    assert ("-m" in words) == (name != "range_test" and any(override.is_sweep_override() for override in overrides))
    first = [
        f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
        if override.is_sweep_override()
        else override.input_line
        for override in overrides
    ]
    config = composed(name, *first)
    check_script(config, name)
    plain(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_arguments_is_parsed(example, monkeypatch):
    _, name, *words = shlex.split(example)
    if COMMANDS[name].arguments != "words":
        return

    class Parsed(Exception):
        pass

    def parse(parser, given, intermixed=False):
        parser.error = lambda message: pytest.fail(message)
        (parser.parse_intermixed_args if intermixed else parser.parse_args)(given)
        raise Parsed

    monkeypatch.setattr(f"start_training.cli.{name}_command.parse", parse)
    with pytest.raises(Parsed):
        resolve_function(COMMANDS[name].function)(words)


@each_composed
def test_each_group_has_options_and_is_in_the_config_of_the_command(name, help_of):
    shown = section(help_of(name, "--help"), "Groups")
    defaults = dict(composed(name).hydra.runtime.choices)
    groups = options_of_groups(name)
    assert [line.split()[0] for line in shown if line[2] != " "] == list(groups)
    for group, options in groups.items():
        assert len(options) > 1, group
        typed = group.replace("NAME", "he_normal")
        assert typed in defaults
        assert defaults.get(typed) in (None, *options, "basic")


@pytest.mark.slow
@each_composed
def test_each_group_changes_the_config_of_the_command(name):
    before = composed(name)
    for group, options in options_of_groups(name).items():
        typed = group.replace("NAME", "he_normal")
        others = [option for option in options if option not in (*OWN, dict(before.hydra.runtime.choices).get(typed))]
        if not others:
            continue
        node = group.replace("/", ".") if group.startswith("hydra/") else None
        after = composed(name, f"{typed}={others[0]}")
        assert _part(after, node) != _part(before, node), (group, others[0])


def _part(config: DictConfig, node: str | None) -> object:
    """Return a node of a config; None: all of it but the node hydra, which always has the words typed."""
    return OmegaConf.select(config, node) if node else {key: config[key] for key in config if key != "hydra"}


def test_only_the_experiments_of_the_command_are_listed():
    listed = {name: options_of_groups(name).get("experiment", []) for name in COMPOSED}
    assert "zhang/slope" in listed["train"] and "hanin_rolnick/figure_1a" not in listed["train"]
    assert [option.rpartition("/")[2] for option in listed["simulate"]] == [
        "failure_mode_2",
        "figure_1a",
        "figure_2a",
        "none",
    ]
    assert sum(len(options) - 1 for options in listed.values() if options) == 16


def test_the_options_of_a_directory_of_ones_own_are_listed(tmp_path, help_of):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: my_package.Net\n")
    for words in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        assert any("lenet, mine, residual" in line for line in help_of("train", *words, "--help"))
