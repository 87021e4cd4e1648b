"""The setting `initializer=auto`, with which a training mends the weights that the net's constructor has drawn."""

from typing import Annotated

from start_training.settings import AtLeast, Seed, checked


class Auto:
    """Mend the weights that the constructor of a net has drawn by `fix_`, on samples of the training set.

    It works for any architecture, and needs training data: a training calls `fix_` itself, before its first step, and
    never on resume. The config, and so the identity of a run, contains the number of samples and their seed.

    Args:
        samples: Number of training samples, at most; half of them are held out in trials.
        seed: Seed of their choice.

    Example:
        >>> Auto(samples=64)
        Auto(samples=64, seed=0)
    """

    mends = True  # so that what builds nets draws nothing

    @checked
    def __init__(self, samples: Annotated[int, AtLeast(2)] = 64, seed: Seed = 0) -> None:
        self.samples, self.seed = samples, seed

    def __call__(self, *_: object, **__: object) -> None:
        raise ValueError("initializer = auto: mends the weights of a net in a training; it cannot draw weights")

    def __repr__(self) -> str:
        return f"Auto(samples={self.samples}, seed={self.seed})"
