"""Draw the cases of the campaign `fuzz`: settings of every script, some of them wrong or unusual."""

import hashlib
import inspect
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from start_training.config.errors import register_resolvers
from tests.composing import QUICK
from tests.small_runs import CONF

TINY = {
    **QUICK,
    "train": (*QUICK["train"], "trainer.max_epochs=1"),
    "range_test": (*QUICK["range_test"], "hydra.mode=RUN"),
    "search": (*QUICK["search"], "search.values=[1e-2,1e-4]", "search.rounds=0", "search.best=1", "seeds=1",
               "trainer.max_epochs=1"),
    "recipe": (*QUICK["recipe"], "baseline_lrs=[0.01]", "times=1", "seeds=1"),
    "weight_decay": ("datamodule.batch_size=512", "measure=3", "window=[0,3]", "seeds=1", "logger=csv"),
    "diagnose": ("nets=5", "model.depth=4"),
}  # fmt: skip
TYPED = {"evaluate": (), "draw": ()}  # scripts with arguments and options instead of settings
WRONG = ("null", "''", "-1", "0", "1", "0.5", "1.5", "1e30", "1e-30", "9223372036854775808", "nan", "inf", "-inf",
         "foo", "true", "a b", "?", "[]", "[1]", "[foo]", "[[1]]", "[null]", "{}", "{a:1}", "/dev/null")  # fmt: skip
GROUPS = sorted({path.parent.name for path in CONF.glob("*/*.yaml")} - {"experiment", "hydra"})
# Options that need data files, a GPU or several processes.
SKIPPED = {"mnist", "fashion_mnist", "cifar10", "ddp_cpu", "ddp", "slurm_ddp", "gpu", "image_folder"}
OTHER = ("hydra.run.dir=other", "hydra.run.dir=''", "hydra.run.dir=other/config.yaml", "hydra.run.dir=5",
         "hydra.sweep.dir=other", "+nosuch=1", "+experiment=foo", "size=foo", "depth=foo", "figure=foo",
         "hydra.mode=foo", "hydra.job.chdir=foo", "hydra.run=5", "hydra/launcher=foo", "hydra.launcher.jobs=foo",
         "hydra.output_subdir=5", "hydra.verbose=foo", "seed=1,2", "seed=range(0)", "hydra=null", "=3", "--nosuch",
         "--config-name=foo", "--config-dir=nowhere", "--cfg=foo")  # fmt: skip
IMAGES = [f"model={name}" for name in ("convolutional", "shallow_convolutional", "deep_convolutional", "lenet")]
KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Case:
    """A script with its command-line words, some of which are wrong or unusual."""

    script: str
    words: tuple[str, ...]
    odd: tuple[str, ...]  # the wrong or unusual ones among the words
    choice: tuple[str, ...] = ()  # the option of a group

    def __str__(self) -> str:
        return shlex.join(["python", f"scripts/{self.script}.py", *self.words])


def leaves(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a config, including keys of inner nodes."""
    for key in node:
        name = f"{prefix}{key}"
        yield name
        child = OmegaConf.to_container(node, resolve=False)[key]
        if isinstance(child, dict) and not OmegaConf.is_missing(node, key):
            yield from leaves(OmegaConf.create(child), f"{name}.")


def open_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the parameters that the targets in a config have and the config does not set, by their dotted names."""
    for key, child in node.items():
        if isinstance(child, dict) and isinstance(target := child.get("_target_"), str) and "${" not in target:
            parameters = inspect.signature(get_object(target)).parameters.values()
            yield from (
                f"{prefix}{key}.{one.name}" for one in parameters if one.name not in child and one.kind in KINDS
            )
        if isinstance(child, dict):
            yield from open_keys(child, f"{prefix}{key}.")


@cache
def composed(script: str, choice: str) -> DictConfig | None:
    """Return the config of a script with an option of a group, or None if Hydra cannot compose it."""
    words = [word for word in TINY[script] if not _same(word, choice)]
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(script, [*words, *([choice] if choice else [])])
    except HydraException:
        return None


def key_of(word: str) -> str:
    """Return the key that an override sets."""
    return word.lstrip("+~").partition("=")[0].partition("@")[0]


def _same(word: str, other: str) -> bool:
    """Return whether two overrides set the same key, or a key and one of its parents."""
    one, two = key_of(word) + ".", key_of(other) + "."
    return bool(other) and (one.startswith(two) or two.startswith(one))


def options(group: str) -> list[str]:
    names = {path.stem for path in (CONF / group).glob("*.yaml")} - SKIPPED
    return sorted(name for name in names if not name.endswith("_or_digits"))


class Draw:
    """Random choices from a seed, most of which do not change when options are added or removed."""

    def __init__(self, seed: str) -> None:
        self.seed, self.count = seed, 0

    def number(self, option: object = "") -> float:
        """Return a number in [0, 1), computed from a hash of the seed, the number of the draw and the option."""
        return int.from_bytes(hashlib.sha256(f"{self.seed} {self.count} {option}".encode()).digest()[:8]) / 2**64

    def random(self) -> float:
        self.count += 1
        return self.number()

    def choice(self, options: Sequence[Any]) -> Any:
        self.count += 1
        return min(enumerate(options), key=lambda item: self.number((item[1], options[: item[0]].count(item[1]))))[1]


def draw_case(script: str, random_: Draw) -> Case:
    """Draw a case with one or two wrong settings."""
    if script in TYPED:
        return draw_arguments(script, random_)
    group = random_.choice([*GROUPS, *[""] * 3])
    choice = f"{group}={random_.choice(options(group))}" if group else ""
    if script == "picture" and group == "model":
        choice = random_.choice(IMAGES)
    config = composed(script, choice)
    if config is None:
        choice, config = "", composed(script, "")
    assert config is not None
    keys, odd = list(leaves(config)), []
    for _ in range(random_.choice((1, 1, 1, 2))):
        key, value = random_.choice(keys), random_.choice(WRONG)
        kind = random_.random()
        if kind < 0.1:
            more = list(open_keys(OmegaConf.to_container(config, resolve=False)))
            odd.append(f"+{random_.choice(more)}={value}" if more else f"{key}={value}")
        elif kind < 0.8:
            odd.append(f"{key}={value}")
        elif kind < 0.85:
            odd.append(f"{random_.choice(GROUPS)}={random_.choice(('foo', 'null', 'none', '5', '[]'))}")
        elif kind < 0.9:
            odd.append(random_.choice((f"{key}s={value}", f"+{key}x={value}", f"~{key}", key, f"++{key}={value}")))
        elif kind < 0.95:
            odd.append(random_.choice(OTHER))
        else:
            odd.append(f"{key}.more={value}")
    if choice.startswith("family=") and choice != "family=none" and "depth" in keys:
        words = [f"depth={random_.choice((2, 3))}"]
        base = [word for word in TINY[script] if not word.startswith("model.")]
    else:
        words, base = [], [*TINY[script]]
    if script == "simulate" and choice in IMAGES:
        words += ["datamodule=digits"]
    words += [word for word in base if not any(_same(word, other) for other in (*odd, choice))]
    chosen = [choice] if choice and not any(key_of(word) == group for word in odd) else []
    where = [] if any("hydra.run.dir" in word for word in odd) else ["hydra.run.dir=here"]
    return Case(script, (*words, *chosen, *where, *odd), tuple(odd), tuple(chosen))


def draw_arguments(script: str, random_: Draw) -> Case:
    """Draw a case of evaluate.py or draw.py, which have arguments instead of settings."""
    places = ("other", "nowhere", ".", "", "other/config.yaml", "/dev/null", "runs")
    values = ("", "foo", "5", "-1", "null", "seed", "seed=0", "=", "a=b", "[1]", "nan")
    flags = {"evaluate": ("--accelerator", "--data-dir", "--nosuch"), "draw": ("--by", "--x", "--without", "--nosuch")}
    words = [random_.choice(("start", "figure_1b", "phase", "range_test", "", "foo", "5", "scaling", "two_papers"))]
    words = (words if script == "draw" else []) + [random_.choice(places)]
    odd = [f"{random_.choice(flags[script])}={random_.choice(values)}" for _ in range(random_.choice((0, 1, 1, 2)))]
    return Case(script, (*words, *odd), (*words, *odd))


def draw_cases(scripts: Sequence[str], *, seed: int, count: int) -> list[Case]:
    """Draw a number of cases, one script after the other in turns."""
    register_resolvers()
    turns = [(scripts[n % len(scripts)], n // len(scripts)) for n in range(count)]
    return [draw_case(script, Draw(f"{seed} {script} {turn}")) for script, turn in turns]
