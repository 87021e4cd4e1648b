"""A data set from a directory of images with one subdirectory per class."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from start_training.datamodules.samples import Samples
from start_training.datamodules.split import stratified_cut
from start_training.datamodules.tensor_datamodule import Scaling, TensorDataModule
from start_training.settings import Fraction, PositiveInteger, WholeNumber, checked, one_line

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # whatever the suffix: Pillow opens EPS with Ghostscript
MODES = {1: "L", 3: "RGB"}


class ImageFolder(TensorDataModule):
    """The images in a folder with one subdirectory per class, resized to image_size × image_size pixels.

    If the subdirectories `train` and `test` (or `train` and `val`) exist, they are the training and the test set, each
    with one subdirectory per class. Otherwise the subdirectories of the folder are the classes, and a fixed part of
    each class is the test set. Classes are numbered in the order of their names. Directories inside a class are not
    searched.

    Args:
        folder: Path of the directory.
        image_size: Height and width to which images are resized, without preserving their aspect ratio.
        channels: 1 (grey) or 3 (colour).
        test: Fraction of each class for the test set, if there is no directory `test` or `val`.
        batch_size: See `TensorDataModule`.
        validation: See `TensorDataModule`.
        scaling: See `TensorDataModule`.
        seed: See `TensorDataModule`.

    Raises:
        ValueError: the directory is missing, has fewer than two classes or a class without images, an image cannot be
            decoded, or a setting has a value that is not allowed.
    """

    @checked
    def __init__(
        self,
        folder: str,
        image_size: PositiveInteger = 32,
        *,
        channels: int = 3,
        test: Fraction = 0.2,
        batch_size: PositiveInteger = 64,
        validation: Fraction = 0.1,
        scaling: Scaling = "standardize",
        seed: WholeNumber = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, validation=validation, scaling=scaling, seed=seed)
        if channels not in MODES:
            raise ValueError(f"channels = {channels!r}: must be 1 (grey) or 3 (colour)")
        self.folder = folder
        self.test = test
        self.input_shape = (channels, image_size, image_size)
        self._train_directory, self._test_directory = self._directories()
        self.class_names = self._classes(self._train_directory)
        self.classes = len(self.class_names)
        for directory in filter(None, (self._train_directory, self._test_directory)):
            self._listing(directory)  # raises an error for a class without images
        if self.classes < 2:
            raise ValueError(
                f"folder = {self.folder!r}: must have at least two classes, and has only {self.class_names[0]}"
            )

    def load(self) -> tuple[Samples, Samples]:
        """Decode all images to uint8 (B, channels, height, width), in the order of classes and file names."""
        train = self._decoded(self._train_directory)
        if self._test_directory:
            return train, self._decoded(self._test_directory)
        remaining, cut = stratified_cut(train.targets, self.test)
        return train.take(remaining), train.take(cut)

    def _directories(self) -> tuple[Path, Path | None]:
        root = Path(self.folder).expanduser()
        if not root.is_dir():
            raise ValueError(f"folder = {self.folder!r}: must be a directory; {root.resolve()} does not exist")
        official = [root / name for name in ("test", "val") if (root / name).is_dir()]
        if official and (root / "train").is_dir():
            return root / "train", official[0]
        return root, None

    def _classes(self, directory: Path) -> list[str]:
        names = sorted(path.name for path in directory.glob("[!.]*") if path.is_dir())
        if not names:
            raise ValueError(f"folder = {self.folder!r}: must have one subdirectory per class in {directory}")
        return names

    def _decoded(self, directory: Path) -> Samples:
        paths, targets = zip(*self._listing(directory), strict=True)
        channels, image_size, _ = self.input_shape
        try:
            images = decode(paths, image_size, channels=channels)
        except ValueError as error:
            raise ValueError(f"folder = {self.folder!r}: {error}") from error
        return Samples(images, torch.tensor(targets))

    def _listing(self, directory: Path) -> list[tuple[Path, int]]:
        """List the image files of all classes in a directory, each with the number of its class."""
        listing: list[tuple[Path, int]] = []
        for name in self._classes(directory):
            if name not in self.class_names:
                unknown = f"{directory / name} must be a class in {self._train_directory} too"
                raise ValueError(f"folder = {self.folder!r}: {unknown}")
            files = (path for path in (directory / name).glob("[!.]*") if path.suffix.lower() in SUFFIXES)
            numbered = [(path, self.class_names.index(name)) for path in sorted(files)]
            if not numbered:
                raise ValueError(f"folder = {self.folder!r}: must have at least one image in {directory / name}")
            listing += numbered
        return listing


@lru_cache(maxsize=2)  # the next job in this process reuses the decoded training and test set
def decode(paths: tuple[Path, ...], image_size: int, *, channels: int) -> Tensor:
    """Decode image files and resize them to squares.

    Args:
        paths: Paths of the B files.
        image_size: Height and width to which images are resized.
        channels: 1 (grey) or 3 (colour).

    Returns:
        uint8 tensor of shape (B, channels, image_size, image_size). It is cached, so callers must not write to it.

    Raises:
        ValueError: a file cannot be decoded; the message names it.
    """
    images = np.empty((len(paths), image_size, image_size, channels), dtype=np.uint8)
    for image, path in zip(images, paths, strict=True):
        try:
            if not path.is_file():  # reading a pipe waits for ever, and a device may have no end
                raise ValueError("not a regular file, or a link to one")
            with Image.open(path, formats=FORMATS) as source:
                if source.mode.startswith(("I", "F")):  # Pillow would clip such values without a warning
                    raise ValueError("more than 8 bits per channel")
                resized = source.convert(MODES[channels]).resize((image_size, image_size))
        except Exception as error:  # Pillow's plugins raise errors of any class for a broken file
            raise ValueError(f"{path} cannot be read as an image ({one_line(error)})") from error
        image[:] = np.asarray(resized).reshape(image.shape)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
