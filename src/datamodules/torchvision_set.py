"""Sets that torchvision downloads and verifies by checksum."""

import contextlib
import http.client
import io
import os
import tarfile
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any, ClassVar

import torch
from filelock import FileLock

from start_training.datamodules.samples import Samples
from start_training.datamodules.tensor_datamodule import Scaling, TensorDataModule
from start_training.settings import Fraction, PositiveInteger, WholeNumber, described

# what urllib, the archive readers and torchvision's checksums raise when a download fails
_DOWNLOAD_ERRORS = (
    OSError,
    RuntimeError,
    EOFError,
    http.client.HTTPException,
    tarfile.TarError,
    zlib.error,
)


class TorchvisionSet(TensorDataModule):
    """A torchvision data set of 10 classes, read from data_dir and downloaded where it is missing.

    Args:
        data_dir: The folder of all data sets; None means the environment variable DATA_DIR, or `data` without it. It
            may be read-only once it holds the set.
        batch_size: See `TensorDataModule`, also for validation, scaling and seed.

    Raises:
        ValueError: the set is missing and cannot be downloaded, or its files are truncated or corrupted.
    """

    classes = 10
    dataset: ClassVar[type[Any]]
    folder: ClassVar[str]
    files: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        data_dir: str | None = None,
        *,
        batch_size: PositiveInteger = 64,
        validation: Fraction = 0.1,
        scaling: Scaling = "standardize",
        seed: WholeNumber = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, validation=validation, scaling=scaling, seed=seed)
        self.data_dir = data_dir if data_dir is not None else os.environ.get("DATA_DIR", "data")

    def prepare_data(self) -> None:
        """Download the set if data_dir does not hold it; of several processes, only one does."""
        if self._present():
            return
        root = self._root
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{self.dataset.__name__}.lock"):
                if not self._present():  # another process may have downloaded it meanwhile
                    self._download(root)
        except _DOWNLOAD_ERRORS as error:
            raise ValueError(
                f"{self._missing()}, and it cannot be downloaded ({described(error)}): "
                f"run once with network access, or put {', '.join(self.files)} there"
            ) from error

    def load(self) -> tuple[Samples, Samples]:
        """The official training and test set, uint8 (B, C, H, W)."""
        if not self._present():
            raise ValueError(f"{self._missing()}: prepare_data() downloads it")
        return self._read(train=True), self._read(train=False)

    def _read(self, *, train: bool) -> Samples:
        try:
            with warnings.catch_warnings():
                # numpy 2.4 on the dtypes in CIFAR-10's files, which Python 2 pickled (vision#9340)
                warnings.filterwarnings("ignore", message=r"dtype\(\): align")
                official = self.dataset(str(self._root), train=train)
            return self._checked(official.data, official.targets)
        except Exception as error:  # torchvision checks little, so a bad file may raise anything
            raise ValueError(
                f"data_dir = {self.data_dir!r}: the {'training' if train else 'test'} files in "
                f"{self._root / self.folder} are truncated or corrupted ({described(error)}); "
                "delete them to download the set again"
            ) from error

    def _checked(self, data: Any, labels: Any) -> Samples:
        images, targets = torch.as_tensor(data), torch.as_tensor(labels, dtype=torch.int64)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        if images.shape != (len(targets), *self.input_shape):
            raise ValueError(f"{len(targets)} labels, images of shape {tuple(images.shape)}")
        if not 0 <= int(targets.min()) <= int(targets.max()) < self.classes:
            raise ValueError(f"a label is not one of the {self.classes} classes")
        return Samples(images.contiguous(), targets)

    def _download(self, root: Path) -> None:
        # into a folder beside the final one, then moved, so that no process reads half a file
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as scratch:
            with contextlib.redirect_stderr(io.StringIO()):  # torchvision's progress bars
                self.dataset(scratch, download=True)
            (root / self.folder).mkdir(parents=True, exist_ok=True)
            for name in self.files:
                os.replace(Path(scratch, self.folder, name), root / self.folder / name)

    def _present(self) -> bool:
        return all((self._root / self.folder / name).is_file() for name in self.files)

    def _missing(self) -> str:
        where = (self._root / self.folder).resolve()
        return f"data_dir = {self.data_dir!r}: no {self.dataset.__name__} in {where}"

    @property
    def _root(self) -> Path:
        return Path(self.data_dir).expanduser()
