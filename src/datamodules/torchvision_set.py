"""The base class of data sets that torchvision downloads and verifies by checksum."""

import contextlib
import http.client
import io
import os
import shlex
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

DEFAULT = "data"  # the folder in the working directory, if no other is set
# Errors that urllib, the archive readers and torchvision's checksums raise if a download fails.
_DOWNLOAD_ERRORS = (
    OSError,
    RuntimeError,
    EOFError,
    http.client.HTTPException,
    tarfile.TarError,
    zlib.error,
)


class TorchvisionSet(TensorDataModule):
    """A torchvision data set of 10 classes, read from data_dir and downloaded if it is missing.

    Args:
        data_dir: Folder of all data sets; None means the environment variable DATA_DIR, or `data` if it is not set. The
            folder may be read-only if it contains the data set. It must exist, since its name could be misspelled; only
            `data` is created.
        batch_size: See `TensorDataModule`.
        validation: See `TensorDataModule`.
        scaling: See `TensorDataModule`.
        seed: See `TensorDataModule`.

    Raises:
        ValueError: the data set is missing and cannot be downloaded, or its files are truncated or corrupted.
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
        self.data_dir = data_dir if data_dir is not None else os.environ.get("DATA_DIR", DEFAULT)

    def prepare_data(self) -> None:
        """Download the data set if data_dir does not contain it; a lock makes one process download and others wait."""
        if self._present():
            return
        root = self._root
        if not root.is_dir() and self.data_dir != DEFAULT:
            raise ValueError(
                f"data_dir = {self.data_dir!r}: no such directory; to download {self.dataset.__name__} to it, type "
                f"mkdir -p {shlex.quote(str(root.resolve()))}"
            )
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / f".{self.dataset.__name__}.lock"):
                if not self._present():  # another process may have downloaded the set while this one waited
                    self._download(root)
        except _DOWNLOAD_ERRORS as error:
            raise ValueError(
                f"{self._missing()}, and the download failed ({described(error)}): "
                f"run once with network access, or copy {', '.join(self.files)} to that folder"
            ) from error

    def load(self) -> tuple[Samples, Samples]:
        """Load the official training and test set, with uint8 images (B, C, H, W)."""
        if not self._present():
            raise ValueError(f"{self._missing()}: call prepare_data() to download it")
        return self._read(train=True), self._read(train=False)

    def _read(self, *, train: bool) -> Samples:
        try:
            with warnings.catch_warnings():
                # numpy 2.4 warns of the dtypes in CIFAR-10's files, which Python 2 pickled (vision#9340).
                warnings.filterwarnings("ignore", message=r"dtype\(\): align")
                official = self.dataset(str(self._root), train=train)
            return self._checked(official.data, official.targets)
        except Exception as error:  # torchvision checks little, so that a bad file can raise any error
            raise ValueError(
                f"data_dir = {self.data_dir!r}: the {'training' if train else 'test'} files in "
                f"{self._root / self.folder} are truncated or corrupted ({described(error)}); "
                "delete them to download the set again"
            ) from error

    def _checked(self, data: Any, labels: Any) -> Samples:
        images, targets = torch.as_tensor(data), torch.as_tensor(labels, dtype=torch.int64)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        if images.shape != (len(targets), *self.input_shape):
            raise ValueError(f"{len(targets)} labels for images of shape {tuple(images.shape)}")
        if not 0 <= int(targets.min()) <= int(targets.max()) < self.classes:
            raise ValueError(f"labels are {int(targets.min())} to {int(targets.max())}, not 0 to {self.classes - 1}")
        return Samples(images.contiguous(), targets)

    def _download(self, root: Path) -> None:
        # Files are downloaded into a temporary folder and then moved, so that no process reads a partial file.
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as scratch:
            with contextlib.redirect_stderr(io.StringIO()):  # hides torchvision's progress bars
                self.dataset(scratch, download=True)
            (root / self.folder).mkdir(parents=True, exist_ok=True)
            for name in self.files:
                os.replace(Path(scratch, self.folder, name), root / self.folder / name)

    def _present(self) -> bool:
        return all((self._root / self.folder / name).is_file() for name in self.files)

    def _missing(self) -> str:
        where = (self._root / self.folder).resolve()
        return f"data_dir = {self.data_dir!r}: must contain {self.dataset.__name__}, and {where} does not"

    @property
    def _root(self) -> Path:
        return Path(self.data_dir).expanduser()
