"""Any directory of images, one subdirectory per class."""

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
MODES = {1: "L", 3: "RGB"}


class ImageFolder(TensorDataModule):
    """The images of a folder, decoded once and stretched to image_size × image_size pixels.

    If there are folder/train and folder/test (or else folder/val), each with one subdirectory per class, they are the
    training and the test set. Otherwise the subdirectories of the folder are the classes, and a fixed part of each is
    the test set. Classes are numbered in the order of their names; directories inside a class are not searched.

    Args:
        folder: The directory.
        image_size: Height and width to which images are stretched.
        channels: 1 (grey) or 3 (colour).
        test: Fraction of each class that is the test set, if there is no directory of it.
        batch_size: See `TensorDataModule`, also for validation, scaling and seed.

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
            self._listing(directory)  # so that a class without images is an error now
        if self.classes < 2:
            raise ValueError(
                f"folder = {self.folder!r}: a single class, {self.class_names[0]}; there must be two or more"
            )

    def load(self) -> tuple[Samples, Samples]:
        """uint8 images (B, channels, height, width), in the order of classes and file names."""
        train = self._decoded(self._train_directory)
        if self._test_directory:
            return train, self._decoded(self._test_directory)
        kept, cut = stratified_cut(train.targets, self.test)
        return train.take(kept), train.take(cut)

    def _directories(self) -> tuple[Path, Path | None]:
        root = Path(self.folder).expanduser()
        if not root.is_dir():
            raise ValueError(f"folder = {self.folder!r}: no directory {root.resolve()}")
        official = [root / name for name in ("test", "val") if (root / name).is_dir()]
        if official and (root / "train").is_dir():
            return root / "train", official[0]
        return root, None

    def _classes(self, directory: Path) -> list[str]:
        names = sorted(path.name for path in directory.glob("[!.]*") if path.is_dir())
        if not names:
            raise ValueError(f"folder = {self.folder!r}: no subdirectories, one per class, in {directory}")
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
        """Every image file of the directory's classes, with the number of its class."""
        listing: list[tuple[Path, int]] = []
        for name in self._classes(directory):
            if name not in self.class_names:
                unknown = f"{directory / name} is no class of {self._train_directory}"
                raise ValueError(f"folder = {self.folder!r}: {unknown}")
            files = (path for path in (directory / name).glob("[!.]*") if path.suffix.lower() in SUFFIXES)
            numbered = [(path, self.class_names.index(name)) for path in sorted(files)]
            if not numbered:
                raise ValueError(f"folder = {self.folder!r}: no images in {directory / name}")
            listing += numbered
        return listing


@lru_cache(maxsize=2)  # a training and a test set, for the next job in the same process
def decode(paths: tuple[Path, ...], image_size: int, *, channels: int) -> Tensor:
    """Decode image files and stretch them to squares.

    Args:
        paths: Of the B files.
        image_size: Height and width to which images are stretched.
        channels: 1 (grey) or 3 (colour).

    Returns:
        uint8, shape (B, channels, image_size, image_size); cached, so not to be written to.

    Raises:
        ValueError: a file cannot be decoded; the message names it.
    """
    images = np.empty((len(paths), image_size, image_size, channels), dtype=np.uint8)
    for image, path in zip(images, paths, strict=True):
        try:
            with Image.open(path) as source:
                if source.mode.startswith(("I", "F")):  # Pillow would clip them without a warning
                    raise ValueError("more than 8 bits per channel")
                resized = source.convert(MODES[channels]).resize((image_size, image_size))
        except Exception as error:  # Pillow's plugins raise errors of any class for a broken file
            raise ValueError(f"{path} cannot be read as an image ({one_line(error)})") from error
        image[:] = np.asarray(resized).reshape(image.shape)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
