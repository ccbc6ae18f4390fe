"""Data that can be read and would be read wrongly, or that is no data at all."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p3vc.formats import open_source
from tests.p3vc.support import Tool, images


@pytest.fixture
def pictures(tool: Tool) -> Path:
    """A folder with one class and one good image."""
    tool.data = tool.folder / "pictures"
    (tool.data / "a").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tool.data / "a" / "0.png")
    return tool.data / "a"


def refused(tool: Tool, *says: str) -> None:
    code, out, err = tool.register()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert all(word in err for word in says), err


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("1.png", np.full((8, 8), 30_000, np.uint16)),
        ("1.tif", np.full((8, 8), 30_000, np.uint16)),
        ("1.tiff", np.full((8, 8), 30_000, np.int32)),
        ("1.tif", np.full((8, 8), 0.5, np.float32)),
    ],
)
def test_more_than_8_bits_are_not_cut(tool: Tool, pictures: Path, name: str, levels: np.ndarray) -> None:
    Image.fromarray(levels).save(pictures / name)
    refused(tool, str(pictures / name), "8 bits")


@pytest.mark.parametrize("name", ["1.webp", "1.tif", "1.png"])
def test_no_image_of_several_is_taken_for_all(tool: Tool, pictures: Path, name: str) -> None:
    first, second = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "red")
    first.save(pictures / name, save_all=True, append_images=[second])
    refused(tool, str(pictures / name), "2 images")


def test_a_camera_s_several_pictures_are_its_first(tool: Tool, pictures: Path) -> None:
    first, preview = (Image.new("RGB", (8, 8), (level,) * 3) for level in (80, 200))
    first.save(pictures / "1.jpg", format="MPO", save_all=True, append_images=[preview])
    assert tool.register()[0] == 0
    loaded = next(iter(open_source(tool.data).batches(10))).images
    assert abs(int(loaded[1].mean()) - 80) < 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_modes_of_8_bits_stay(tool: Tool, pictures: Path, mode: str) -> None:
    Image.new(mode, (8, 8)).save(pictures / "0.tif")
    (pictures / "0.png").unlink()
    assert tool.register()[0] == 0


def test_whatever_a_decoder_raises_names_the_image(tool: Tool, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TypeError("Missing dimensions")

    monkeypatch.setattr(Image, "open", fail)
    refused(tool, str(pictures / "0.png"), "Missing dimensions")


@pytest.mark.parametrize("name", ["pictures/a/1.png", "packed/x.npz", "batches/data_batch_1"])
def test_a_pipe_is_not_waited_for(tool: Tool, pictures: Path, name: str) -> None:
    pipe = tool.folder / name
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    data = pictures.parent if pipe.suffix == ".png" else pipe.parent
    argv = [sys.executable, "-m", "p3vc.cli", "register", "--data", str(data), "--budget", "1"]
    argv += ["--ledger", str(tool.ledger)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"p3vc: {pipe}: is no regular file; replace or remove it\n"


def test_a_link_to_an_image_is_one(tool: Tool, pictures: Path) -> None:
    (pictures / "1.png").symlink_to("0.png")
    assert "2 records" in tool.register()[1]


def batch(tool: Tool, labels: list[int], *, binary: bool) -> None:
    tool.data = tool.folder / "cifar"
    tool.data.mkdir()
    rows = images(len(labels), (3, 32, 32)).reshape(len(labels), 3072)
    if binary:
        content = np.concatenate([np.array(labels, np.uint8)[:, None], rows], axis=1).tobytes()
    else:
        content = pickle.dumps({b"data": rows, b"labels": np.array(labels, np.int64)})
    (tool.data / ("data_batch_1.bin" if binary else "data_batch_1")).write_bytes(content)


@pytest.mark.parametrize("binary", [False, True])
def test_cifar_labels_are_digits(tool: Tool, binary: bool) -> None:
    batch(tool, [3, 9, 10, 0], binary=binary)
    refused(tool, "data_batch_1", "10", "0 to 9")


def test_a_negative_label_is_refused(tool: Tool) -> None:
    batch(tool, [3, -1], binary=False)
    refused(tool, "data_batch_1", "-1", "0 to 9")


@pytest.mark.parametrize("binary", [False, True])
def test_a_batch_without_records_is_refused(tool: Tool, binary: bool) -> None:
    batch(tool, [], binary=binary)
    refused(tool, "data_batch_1")
    assert not tool.ledger.exists()


def test_a_name_that_is_no_text_is_a_name(tool: Tool, pictures: Path) -> None:
    (pictures / "0.png").rename(pictures / os.fsdecode(b"caf\xe9.png"))
    assert tool.register()[0] == 0
    assert tool.release("a")[0] == 0
