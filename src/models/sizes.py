"""Constraints on settings of several nets: the sizes of layers, and the shape of images."""

from collections.abc import Sequence
from typing import Annotated

from start_training.settings import positive_integer


def layer_sizes(name: str, value: object) -> list[int]:
    """Check that a setting is a list of whole numbers of at least 1, which may be empty."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{name} = {value!r}: must be a list with a number for each layer")
    return [positive_integer(name, size) for size in value]


def image_shape(name: str, value: object) -> Sequence[int]:
    """Check that a setting is the shape of an image, (channels, height, width)."""
    if not isinstance(value, Sequence) or len(value) != 3:
        raise ValueError(f"{name} = {value!r}: must be (channels, height, width); choose a datamodule of images")
    return value


LayerSizes = Annotated[Sequence[int], layer_sizes]
ImageShape = Annotated[Sequence[int], image_shape]
