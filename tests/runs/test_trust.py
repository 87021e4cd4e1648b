"""A run directory of a stranger: what its config names is not imported, built or called unless the user trusts it."""

import pickle
import re
import shutil
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hydra.utils import instantiate

from start_training.runs.directory import RunDirectory
from start_training.runs.moved_targets import MOVED
from start_training.runs.run_name import run_name
from start_training.runs.trust import FOLDERS, is_allowed, shipped_targets
from tests.small_runs import CONF, SMALL

CRITICAL = "start_training.initializers.critical.Critical"


class Payload:
    """Pickled, it makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


class Stranger:
    """A sweep of one run, beside files that make the file `mark` when a config has them opened or imported."""

    def __init__(self, directory: Path, run: Path) -> None:
        self.directory, self.mark, self.run = directory, directory / "mark", directory / "sweep" / "run"
        shutil.copytree(run, self.run)
        (directory / "pickle").write_bytes(pickle.dumps(Payload(self.mark)))
        code = f"from pathlib import Path\nPath({str(self.mark)!r}).touch()\nclass LeNet: ...\ndef relu(x): return x\n"
        for file in ("evil_module.py", "hub/hubconf.py", "src/__init__.py", "src/models/__init__.py"):
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / file).write_text(code if file != "src/__init__.py" else "")

    def write(self, config: dict) -> None:
        (self.run / "config.yaml").write_text(yaml.safe_dump(config))

    def config(self) -> dict:
        return yaml.safe_load((self.run / "config.yaml").read_text())

    def was_run(self) -> bool:
        """Whether a file of the stranger was, and forget it."""
        before = self.mark.exists()
        self.mark.unlink(missing_ok=True)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("evil_module", "src", "hubconf")]:
            del sys.modules[name]
        return before

    def node(self, name: str) -> dict:
        pickled = str(self.directory / "pickle")
        return {
            "pandas": {"_target_": "pandas.read_pickle", "filepath_or_buffer": pickled},
            "torch": {"_target_": "torch.load", "f": pickled, "weights_only": False},
            "numpy": {"_target_": "numpy.load", "file": pickled, "allow_pickle": True},
            "hub": {"_target_": "torch.hub.load", "_args_": [str(self.directory / "hub"), "x"], "source": "local"},
            "alias": {"_target_": "start_training.runs.checkpoint.torch.load", "f": pickled, "weights_only": False},
            "module": {"_target_": "evil_module.LeNet"},
            "activation": {"_target_": CRITICAL, "activation": "evil_module.relu"},
            "positional": {"_target_": CRITICAL, "_args_": ["evil_module.relu"]},
        }[name]


@pytest.fixture
def stranger(tmp_path, trained, monkeypatch) -> Stranger:
    monkeypatch.syspath_prepend(tmp_path)
    return Stranger(tmp_path, trained())


NODES = ("pandas", "torch", "numpy", "hub", "alias", "module", "activation", "positional")
PLACES = {
    "as a group": lambda config, node: config.update(model=node),
    "as an argument": lambda config, node: config["model"].update(width=node),
    "in lists": lambda config, node: config["model"].update(widths=[3, [{"deep": [node]}]]),
    "as a callback": lambda config, node: config["callbacks"].update(own=node),
    "in a group that is not built": lambda config, node: config.update(notes={"a": {"b": node}}),
}
COMMANDS = {"evaluate": ("sweep/run",), "draw": ("start", "sweep"), "report": ("sweep",)}


def run_once(stranger: Stranger, node: object) -> bool:
    """Whether a node is run by Hydra, which shows that the attack is one."""
    with suppress(Exception):
        instantiate({"x": node}, _convert_="all")
    return stranger.was_run()


@pytest.mark.parametrize("name", NODES)
def test_nothing_that_a_strangers_config_names_is_run(stranger, shell, name):
    original, node = stranger.config(), stranger.node(name)
    assert run_once(stranger, node)
    for place, put in PLACES.items():
        config = yaml.safe_load(yaml.safe_dump(original))
        put(config, node)
        stranger.write(config)
        for command, arguments in COMMANDS.items():
            status, output, errors = shell(command, *arguments)
            assert (status, output, len(errors)) == (1, [], 1), (place, command, errors)
            assert re.fullmatch(
                r"error: [\w.]+ = [\w.]+: not imported, since sweep/run/config.yaml .* type --trust \w+", errors[0]
            )
            assert not stranger.was_run(), (place, command)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_trusted_package_is_imported(stranger, shell, command):
    """The control of the test above: the commands would run what they are kept from."""
    config = stranger.config()
    PLACES["as an argument"](config, stranger.node("pandas"))
    stranger.write(config)
    status, _, [error, *_] = shell(command, *COMMANDS[command], "--trust", "numpy")
    assert (status, stranger.was_run()) == (1, False) and error.endswith("type --trust pandas")
    shell(command, *COMMANDS[command], "--trust", "numpy", "--trust", "pandas")
    assert stranger.was_run()
    assert shell(command, *COMMANDS[command], "--trust", "my nets")[2] == [
        "error: --trust = my nets: must be the name of a package, as in --trust my_nets"
    ]


def made(node: dict) -> str:
    """An interpolation that makes a node, so that it is in no file."""
    return "${oc.create:{" + ", ".join(f"{key}: {value}" for key, value in node.items()) + "}}"


@pytest.mark.parametrize(
    "make",
    [
        lambda config, node: config | {"x": node, "model": "${x}"},
        lambda config, node: config | {"model": {"_target_": "${x}"}, "x": node["_target_"]},
        lambda config, node: config | {"model": {**config["model"], "width": made(node)}},
        lambda config, node: config | {"model": {**config["model"], "width": "${oc.env:HOME}"}},
    ],
    ids=["node", "target", "made", "environment"],
)
def test_an_interpolation_is_refused(stranger, shell, make):
    stranger.write(make(stranger.config(), stranger.node("pandas")))
    for command in ("evaluate", "draw"):
        status, _, [error] = shell(command, *COMMANDS[command], "--trust", "pandas")
        refused = ("must be a value, not an interpolation, in sweep/run/config.yaml", "model has the wrong type, str)")
        assert status == 1 and error.endswith(refused)
        assert not stranger.was_run()
    shell("report", *COMMANDS["report"], "--trust", "pandas")  # may show it as a damaged file
    assert not stranger.was_run()


def test_an_interpolation_can_make_a_node(stranger):
    """The control of the test above."""
    assert run_once(stranger, made(stranger.node("pandas")))


def test_a_former_name_of_this_project_is_not_imported_from_the_working_directory(stranger, shell, monkeypatch):
    monkeypatch.setattr("start_training.runs.moved_targets._reported", set())
    config = stranger.config()
    config["model"]["_target_"] = config["model"]["_target_"].replace("start_training", "src")
    stranger.write(config)
    assert shell("evaluate", "sweep/run")[0] == 0
    assert not stranger.was_run()


def test_a_users_own_package_needs_trust_and_its_path_only_then(stranger, shell, monkeypatch, capfd):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(stranger.directory)])
    net = "from start_training.models.fully_connected import FullyConnected\nclass Mine(FullyConnected): ...\n"
    (stranger.directory / "my_nets_of_trust.py").write_text(net)
    config = stranger.config()
    config["model"]["_target_"] = "my_nets_of_trust.Mine"
    stranger.write(config)
    status, _, [error] = shell("evaluate", "sweep/run")
    assert status == 1 and error == (
        "error: model._target_ = my_nets_of_trust.Mine: not imported, since sweep/run/config.yaml may be a stranger's; "
        "only if you trust its author, type --trust my_nets_of_trust"
    )
    assert str(stranger.directory) not in sys.path
    status, output, _ = shell("evaluate", "sweep/run", "--trust", "my_nets_of_trust")
    assert status == 0 and "accuracy" in " ".join(output)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\n" + "".join(f"{b}: &{b} [*{a}" + f", *{a}" * 9 + "]\n" for a, b in pairwise("abcdefghij")),
        "a: &a [*a]\n",
        "a: " + "[" * 900 + "]" * 900,
        "a: " + "[" * 100_000,
        "a: 2001-01-01\n",
        "a: !!python/object/apply:os.system [touch mark]\n",
        "a: {_target_: 'evil\\x1b[2J.x'}\n",
    ],
    ids=["aliases", "itself", "deep", "deeper", "date", "tag", "escape"],
)
def test_an_odd_config_is_an_error_of_one_line(stranger, shell, text):
    (stranger.run / "config.yaml").write_text(text)
    status, output, [error] = shell("evaluate", "sweep/run")
    assert (status, output) == (1, []) and "config.yaml" in error and error.isprintable()
    assert not stranger.was_run()


def test_ones_own_command_asks_nothing_and_imports_no_others_classes(stranger):
    strange = {"seed": 0, "model": stranger.node("module")}
    own = {"seed": 0, "model": {"_target_": "torch.optim.SGD", "lr": 1}}
    folder = stranger.directory / "runs"
    for name in ("0123456789ab", "ba9876543210"):
        (folder / name / "checkpoints").mkdir(parents=True)
        (folder / name / "config.yaml").write_text(yaml.safe_dump(strange if name[0] == "0" else own))
        (folder / name / "checkpoints" / "last.ckpt").touch()
    assert run_name(own, folder) == "ba9876543210"
    with pytest.raises(ValueError, match=r"another config \(model._target_: existing 'evil_module.LeNet'"):
        RunDirectory(folder / "0123456789ab").claim(own)
    assert not stranger.was_run()
    run = RunDirectory(folder / "0123456789ab")
    run.claim(strange)  # its hash needs the annotations of the class
    run.release()
    assert stranger.was_run()
    assert run_name(strange, folder) == "0123456789ab"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "torch.optim.SGD",
            "torch.optim.adamw.AdamW",
            "torch.optim.lr_scheduler.StepLR",
            "torch.optim.swa_utils.SWALR",
            "torch.nn.HuberLoss",
            "torch.nn.modules.loss.MSELoss",
        ),
        *("start_training.VarianceScaling", "start_training.models.lenet.LeNet", "pytorch_lightning.Trainer"),
        *("start_training.callbacks.training_time.TrainingTime", "start_training.models.widths.alternating"),
        *(name for name in MOVED if name.rpartition(".")[2][0].isupper()),
    ],
)
def test_what_is_allowed(name):
    assert is_allowed(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "torch.load",
            "torch.optim.lr_scheduler.partial",
            "torch.optim.optimizer.torch",
            "torch.optim.swa_utils.Module",
            "torch.nn.Linear",
            "torch.nn.modules.loss.F",
            "torch.nn.functional.mse_loss",
        ),
        *("start_training.diagnose", "start_training.models.activation.activation_named"),  # functions
        *("start_training.models.lenet.nn.Linear", "start_training.initializers.torch_activation.pkgutil.resolve_name"),
        *("start_training.cli.hydra_command.JobFunction", "start_training.callbacks.activation_lengths.Table"),
        *("start_training.models.lenet.LeNet.__init__", "start_training.cli.__main__.main", "start_training"),
        *("", ".", "start_training..x", "torch.optim.\0", "torchx.SGD", "evil_module.LeNet", "builtins.object"),
    ],
)
def test_what_is_not_allowed(name):
    assert not is_allowed(name)


def test_what_the_yaml_files_name_is_allowed():
    lines = [line for file in CONF.rglob("*.yaml") for line in file.read_text().splitlines()]
    named = {match[1] for line in lines if (match := re.match(r" *_target_: (\w+\.[\w.]+)$", line))}
    assert len(named) > 40 and named == shipped_targets()
    assert all(map(is_allowed, named))


def test_one_class_in_the_allowed_folders_imports_by_name():
    """It is given a name under a key that `start_training.runs.trust` knows; another class would need one, too."""
    importing = re.compile(
        r"resolve_name\(|import_module\(|get_object\(|get_class\(|get_method\(|\b(eval|exec)\((?!\))"
    )
    files = [file for folder in FOLDERS for file in (CONF.parent / "src" / folder).rglob("*.py")]
    assert [file.name for file in files if importing.search(file.read_text())] == ["torch_activation.py"]


def test_a_sweep_of_ones_own_classes_is_drawn_without_a_question(tmp_path, shell, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_fill_of_trust.py").write_text("def fill_(weight):\n    weight.normal_(0, 0.1)\n")
    figure = "figure={_target_:start_training.figures.start_of_training.draw_start_of_training}"
    own = (
        "initializer=torch_default",
        "initializer._target_=my_fill_of_trust.fill_",
        "callbacks=start_of_training",
        figure,
    )
    status, output, errors = shell("train", "-m", *SMALL, *own, "seed=0", "hydra.sweep.dir=sweep")
    assert (status, errors) == (0, []), errors
    assert output[-1].startswith("figure: sweep/figure.png")
    status, _, [error] = shell("draw", "start", "sweep")
    assert status == 1 and error.endswith("type --trust my_fill_of_trust")
    assert shell("draw", "start", "sweep", "--trust", "my_fill_of_trust")[0] == 0
