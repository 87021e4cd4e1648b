"""The table of commands, their entry points, and that --help does not import torch."""

import subprocess
import sys
from pathlib import Path

import pytest

import start_training
from start_training.cli.commands import COMMANDS, main, resolve_function
from start_training.cli.hydra_command import CONF
from start_training.config.errors import shell_command

ROOT = Path(__file__).parents[2]
HEAVY = "{'torch', 'pytorch_lightning', 'pandas', 'wandb', 'matplotlib'}"


def imported_after(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, which then prints on stderr which of the `HEAVY` packages it has imported."""
    tail = f"\nimport sys; print(sorted({HEAVY} & sys.modules.keys()), file=sys.stderr)"
    return subprocess.run([sys.executable, "-c", code + tail, *words], capture_output=True, text=True)


def test_every_command_has_a_description_a_function_a_script_and_a_config():
    for name, command in COMMANDS.items():
        assert callable(resolve_function(command.function)) and command.line.endswith(".")
        assert (CONF / f"{name}.yaml").exists() == (command.arguments != "words")
        assert f'main("{name}")' in (ROOT / "scripts" / f"{name}.py").read_text()


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_has_one_line_per_command(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["start-training", *words])
    main()
    printed = capsys.readouterr().out.splitlines()
    lines = [line.split(None, 1) for line in printed[3:]]
    assert max(map(len, printed)) <= 80
    assert dict(lines) == {name: command.line for name, command in COMMANDS.items()}


@pytest.mark.parametrize("words, message", [
    (["trian"], "error: command = 'trian': must be one of diagnose, draw, "),
    (["train", "--experimental-rerun", "x"], "error: --experimental-rerun: "),
])  # fmt: skip
def test_a_user_error_is_one_line(words, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["start-training", *words])
    with pytest.raises(SystemExit) as end:
        main()
    output, errors = capsys.readouterr()
    assert (end.value.code, output) == (1, "") and errors.startswith(message) and errors.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["recipe", "--help"], ["--version"]], ids=" ".join)
def test_help_does_not_import_torch(words):
    code = """
import sys
from start_training.cli.commands import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    finished = imported_after(code, *words)
    assert finished.stdout and finished.stderr == "[]\n", finished.stderr


def test_importing_the_package_is_lazy_and_dir_lists_the_public_names():
    code = "import start_training as s; assert set(s.__all__) <= set(dir(s)) and not hasattr(s, 'nosuch')"
    assert imported_after(code).stderr == "[]\n"
    assert imported_after("import pandas").stderr == "['pandas']\n"
    names: dict[str, object] = {}
    exec("from start_training import *", names)
    assert set(start_training.__all__) <= names.keys()


@pytest.mark.parametrize("started, command", [
    ("/bin/start-training", "start-training train"),
    ("/site/start_training/cli/__main__.py", "start-training train"),
    ("scripts/search.py", "uv run python scripts/train.py"),
    ("/site/pytest/__main__.py", "uv run python scripts/train.py"),
])  # fmt: skip
def test_shell_commands_have_the_form_in_which_this_process_was_started(started, command, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert shell_command("train") == command
