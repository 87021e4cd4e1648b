"""Data sets from directories of images: their classes, their test sets, and errors."""

import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from start_training.datamodules.image_folder import ImageFolder


def draw(path: Path, shade: int, *, size: int = 6, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size, size + 2), shade if mode == "L" else (shade, 0, 0)).save(path)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A folder of two classes, in which every image has a different shade."""
    for number in range(10):
        draw(tmp_path / "cat" / f"{number}.png", number)
        draw(tmp_path / "dog" / f"{number}.PNG", 100 + number, mode="L")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A folder with subfolders train/, val/ and test/ of two classes."""
    for part, first in ("train", 0), ("val", 50), ("test", 100):
        for number in range(4):
            draw(tmp_path / part / "cat" / f"{number}.png", first + number)
            draw(tmp_path / part / "dog" / f"{number}.png", 200 - first - number)
    return tmp_path


def image_folder(folder: Path, image_size: int = 4, **settings: object) -> ImageFolder:
    return ImageFolder(str(folder), image_size, **({"batch_size": 2, "scaling": "unit", "validation": 0} | settings))


def shades(datamodule: ImageFolder, part: str) -> list[int]:
    return sorted((datamodule.samples(part).inputs[:, 0, 0, 0] * 255).round().int().tolist())


def test_without_a_test_folder_a_part_of_each_class_is_the_test_set(flat):
    datamodule = image_folder(flat)
    assert torch.bincount(datamodule.samples("test").targets).tolist() == [2, 2]
    together = shades(datamodule, "training") + shades(datamodule, "test")
    assert sorted(together) == [*range(10), *range(100, 110)]
    inputs, targets = datamodule.samples("training")
    assert torch.equal(targets == 1, inputs[:, 1, 0, 0] > 0)  # the dogs are grey, the cats red
    again = image_folder(flat).samples("training")  # from the cached images, which must not have changed
    assert torch.equal(again.inputs, inputs) and datamodule.class_names == ["cat", "dog"]


@pytest.mark.parametrize("test_name, first", [("test", 100), ("val", 50)])
def test_folders_train_and_test_are_the_training_and_test_set(official, test_name, first):
    if test_name == "val":
        (official / "test").rename(official / ".test")
    datamodule = image_folder(official, test=0.5)
    expected = [*range(first, first + 4), *range(197 - first, 201 - first)]
    assert shades(datamodule, "test") == sorted(expected)
    assert shades(datamodule, "training") == [0, 1, 2, 3, 197, 198, 199, 200]


def test_a_grey_image_has_the_luminance_of_the_colours(flat):
    grey = image_folder(flat, channels=1).samples("test").inputs
    colour = image_folder(flat, channels=3).samples("test").inputs
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)  # ITU-R 601-2, as in Pillow
    assert ((colour * weights).sum(1, keepdim=True) - grey).abs().max() < 1 / 255


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def deepen(path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(path)


def bomb(path: Path) -> None:
    """A PNG of a few bytes whose header says 30,000 × 30,000 pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    data = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))


def postscript(path: Path) -> None:
    """A program for Ghostscript, which Pillow would start."""
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n%%EOF\n")
    with Image.open(path) as source:  # without a list of formats
        assert source.format == "EPS"


def of_no_file(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))  # paths of sockets are short


ODD = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "socket": socket_at,
    "folder": Path.mkdir,
    "broken link": lambda path: path.symlink_to("nowhere"),
    "link to a pipe": lambda path: (os.mkfifo(path.parents[1] / "pipe"), path.symlink_to("../pipe")),
}


@pytest.mark.timeout(20)  # a pipe that is opened waits for ever
@pytest.mark.parametrize("kind", ODD)
def test_only_regular_files_are_opened(flat, kind, monkeypatch):
    monkeypatch.chdir(flat / "cat")
    of_no_file(ODD[kind])(flat / "cat" / "3.png")
    message = one_line(image_folder(flat).setup)
    assert (
        message
        == f"folder = '{flat}': {flat}/cat/3.png cannot be read as an image (not a regular file, or a link to one)"
    )


def test_a_link_to_an_image_is_read(flat):
    of_no_file(lambda path: path.symlink_to("../dog/3.PNG"))(flat / "cat" / "3.png")
    assert 103 in shades(image_folder(flat), "training") + shades(image_folder(flat), "test")


@pytest.mark.filterwarnings("ignore:.*decompression bomb")
@pytest.mark.parametrize("fault", [damage, deepen, bomb, postscript, lambda path: path.write_bytes(b"")])
def test_an_image_that_cannot_be_read_is_an_error_that_names_it(flat, fault):
    fault(flat / "cat" / "3.png")
    message = one_line(image_folder(flat).setup)
    assert message.startswith(f"folder = '{flat}': {flat}/cat/3.png cannot be read as an image")


@pytest.mark.parametrize(
    "names, settings, message",
    [
        (["cat/a.png"], {}, "folder = {0!r}: must have at least two classes, and has only cat"),
        (["cat/a.png", "dog/"], {}, "folder = {0!r}: must have at least one image in"),
        (["train/cat/a.png", "test/"], {}, "folder = {0!r}: must have one subdirectory per class in"),
        (["train/a/a.png", "test/b/b.png"], {}, "folder = {0!r}: {0}/test/b must be a class in"),
        (["cat/a.png"], {"channels": 2}, "channels = 2: must be 1 (grey) or 3 (colour)"),
    ],
)
def test_impossible_folders_and_settings_are_errors_of_one_line(tmp_path, names, settings, message):
    for name in names:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        else:
            draw(tmp_path / name, 0)
    error = one_line(lambda: image_folder(tmp_path, **settings).setup())
    assert error.startswith(message.format(str(tmp_path)))
    nowhere = one_line(lambda: image_folder(tmp_path / "nowhere"))
    assert nowhere == f"folder = '{tmp_path}/nowhere': must be a directory; {tmp_path}/nowhere does not exist"


def one_line(call) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
