"""Data sets of torchvision: reading, downloading, and errors for damaged files."""

import gzip
import hashlib
import os
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch
import torchvision

from start_training.datamodules.cifar10 import Cifar10
from start_training.datamodules.fashion_mnist import FashionMnist
from start_training.datamodules.mnist import Mnist
from tests.datamodules.test_image_folder import one_line

SIZES = {"train": 30, "t10k": 12}
DATA_DIR = Path(os.environ.get("DATA_DIR", "data"))


def idx(values: np.ndarray) -> bytes:
    """Encode an array in the IDX format: two zeros, 8 for unsigned bytes, the number of axes, the shape, the values."""
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes() + values.tobytes()


def idx_files() -> dict[str, bytes]:
    draw, files = np.random.default_rng(0), {}
    for part, size in SIZES.items():
        images = draw.integers(256, size=(size, 28, 28), dtype=np.uint8)
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(size, dtype=np.uint8) % 10)
    return files


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory with a tiny MNIST."""
    folder = tmp_path / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in idx_files().items():
        (folder / name).write_bytes(content)
    return tmp_path / "data"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory from which torchvision downloads the tiny MNIST, with checksums."""
    folder = tmp_path / "server"
    folder.mkdir()
    resources = []
    for name, content in idx_files().items():
        archive = gzip.compress(content)
        (folder / f"{name}.gz").write_bytes(archive)
        resources.append((f"{name}.gz", hashlib.md5(archive).hexdigest()))
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as http:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"http://127.0.0.1:{http.server_port}/"])
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield folder
        http.shutdown()


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """An empty directory of data sets."""
    (tmp_path / "new").mkdir()
    return tmp_path / "new"


def mnist(data_dir: Path) -> Mnist:
    return Mnist(str(data_dir), batch_size=8, validation=0)


def test_images_and_labels_are_read_from_files_without_locks_or_writes(data_dir, monkeypatch):
    monkeypatch.setattr(filelock.FileLock, "acquire", None)
    before = sorted(data_dir.rglob("*"))
    datamodule = Mnist(str(data_dir), batch_size=8, validation=0, scaling="unit")
    datamodule.prepare_data()
    inputs, targets = datamodule.samples("test")
    raw = np.frombuffer(idx_files()["t10k-images-idx3-ubyte"][16:], np.uint8)
    assert np.array_equal(inputs.numpy().ravel(), raw / np.float32(255))
    assert targets.tolist() == [i % 10 for i in range(12)]
    assert datamodule.samples("training").size == 30
    assert sorted(data_dir.rglob("*")) == before


def test_a_missing_set_is_downloaded_without_output_or_other_files(server, new, capfd):
    mnist(new).prepare_data()
    mnist(new).setup()
    left = {path.name for path in new.rglob("*") if path.is_file()}
    assert left - {".MNIST.lock"} == set(Mnist.files)
    assert capfd.readouterr() == ("", "")


def test_two_concurrent_processes_download_once(server, new, monkeypatch):
    downloads = []
    original = torchvision.datasets.MNIST.download

    def noted(self):
        downloads.append(self)
        original(self)

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", noted)
    both = [threading.Thread(target=mnist(new).prepare_data) for _ in range(2)]
    for act in (threading.Thread.start, threading.Thread.join):
        for thread in both:
            act(thread)
    assert len(downloads) == 1
    assert mnist(new).samples("training").size == 30


@pytest.mark.parametrize("corrupted", [False, True])
def test_a_failed_download_is_an_error_that_names_the_folder(server, new, monkeypatch, corrupted):
    for archive in server.iterdir():
        archive.write_bytes(archive.read_bytes()[:-9])
    if not corrupted:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["file:///nowhere/"])
    message = one_line(mnist(new).prepare_data)
    assert message.startswith(f"data_dir = '{new}': must contain MNIST, and {new}/MNIST/raw does not")
    assert "the download failed" in message and Mnist.files[0] in message
    assert not list(new.glob("[!.]*"))  # no partial data set


def test_an_impossible_directory_and_an_unprepared_set_are_errors(server, tmp_path):
    (tmp_path / "data").write_text("")
    message = one_line(mnist(tmp_path / "data").prepare_data)
    assert message.startswith(f"data_dir = '{tmp_path}/data': no such directory")
    assert "call prepare_data() to download it" in one_line(mnist(tmp_path).setup)


@pytest.mark.parametrize("variable", [False, True])
def test_a_misspelled_directory_is_not_created_and_the_default_is(server, tmp_path, monkeypatch, variable):
    monkeypatch.chdir(tmp_path)
    typo = tmp_path / "dta" / "sets"
    if variable:
        monkeypatch.setenv("DATA_DIR", str(typo))
    message = one_line(Mnist(None if variable else str(typo)).prepare_data)
    assert message.startswith(f"data_dir = '{typo}': no such directory") and message.endswith(f"mkdir -p {typo}")
    assert not (tmp_path / "dta").exists()
    monkeypatch.delenv("DATA_DIR", raising=False)
    Mnist().prepare_data()  # as in the first run of a new user
    assert {path.name for path in Path("data/MNIST/raw").iterdir()} == set(Mnist.files)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (Mnist.files[0], lambda content: content[: len(content) // 2]),
        (Mnist.files[3], lambda content: b"\xff" * len(content)),
    ],
    ids=["half", "overwritten"],
)
def test_a_damaged_file_is_an_error_that_names_the_set(data_dir, name, damage):
    path = data_dir / "MNIST" / "raw" / name
    path.write_bytes(damage(path.read_bytes()))
    part = "training" if name.startswith("train") else "test"
    message = one_line(mnist(data_dir).setup)
    expected = f"data_dir = '{data_dir}': the {part} files in {data_dir}/MNIST/raw are truncated or"
    assert message.startswith(expected)


def test_labels_of_another_set_are_an_error(data_dir):
    labels = data_dir / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(29, np.uint8)))
    assert "29 labels for images of shape (30, 1, 28, 28)" in one_line(mnist(data_dir).setup)
    labels.write_bytes(idx(np.full(30, 10, np.uint8)))
    assert ", not 0 to 9" in one_line(mnist(data_dir).setup)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a tiny CIFAR-10: two images per file, the last one's first pixel red."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    checksums = {}
    for name in Cifar10.files:
        pixels = np.zeros((2, 3, 32, 32), np.uint8)
        pixels[-1, 0, 0, 0] = 255
        entry = {"data": pixels.reshape(2, -1), "labels": [3, 9], "label_names": ["a"] * 10}
        (folder / name).write_bytes(pickle.dumps(entry))
        checksums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    known = torchvision.datasets.CIFAR10
    for listed in "train_list", "test_list":
        names = [[name, checksums[name]] for name, _ in getattr(known, listed)]
        monkeypatch.setattr(known, listed, names)
    meta = {**known.meta, "md5": checksums["batches.meta"]}
    monkeypatch.setattr(known, "meta", meta)
    return tmp_path


def test_the_channels_of_cifar10_are_in_order(cifar):
    datamodule = Cifar10(str(cifar), batch_size=2, validation=0, scaling="unit")
    inputs, targets = datamodule.samples("training")
    assert inputs.shape == (10, 3, 32, 32) and targets.tolist() == [3, 9] * 5
    assert inputs[1, 0, 0, 0] == 1 and inputs.sum() == 5


@pytest.mark.slow  # 4 s
@pytest.mark.parametrize(
    "datamodule, labels",
    [(Mnist, [5, 0, 4, 1, 9]), (FashionMnist, None)],  # the official order of MNIST's labels
)
def test_the_real_sets_have_60000_and_10000_images(datamodule, labels):
    made = datamodule(str(DATA_DIR), validation=0)
    if not (DATA_DIR / made.folder).is_dir():
        pytest.skip(f"{made.folder} is not in DATA_DIR")
    training, test = made.samples("training"), made.samples("test")
    assert (training.size, test.size) == (60_000, 10_000)
    assert torch.bincount(test.targets).tolist() == [1000] * 10 or labels
    assert labels is None or training.targets[:5].tolist() == labels
