from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p3vc.errors import BadInputError
from p3vc.formats import open_source
from tests.p3vc.support import images, save


def everything(path: Path, kind: str = "auto", size: int = 7) -> tuple[np.ndarray, np.ndarray]:
    batches = list(open_source(path, kind).batches(size))
    assert all(batch.labels.size == size for batch in batches[:-1])
    return np.concatenate([b.images for b in batches]), np.concatenate([b.labels for b in batches])


def refusal(path: Path, kind: str = "auto") -> str:
    with pytest.raises(BadInputError) as caught:
        source = open_source(path, kind)
        source.verify()
        for _ in source.batches(7):
            pass
    return str(caught.value)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_an_archive_streams_as_it_was_saved(tmp_path: Path, write: object) -> None:
    path, labels = tmp_path / "x.npz", np.arange(50, dtype=np.uint8)
    write(path, images=images(50), labels=labels)  # type: ignore[operator]
    for place in (path, tmp_path):
        got_images, got_labels = everything(place)
        assert (got_images == images(50)).all()
        assert (got_labels == labels).all()


def cifar(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir(parents=True)
    some, labels = images(30, (3, 32, 32)), np.arange(30) % 10
    for i, name in enumerate(["data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"]):
        part = slice(10 * i, 10 * i + 10)
        rows = np.concatenate([labels[part, None].astype(np.uint8), some[part].reshape(10, -1)], axis=1)
        (folder / name).write_bytes(rows.tobytes())
    return some, labels


def test_cifar_binaries_stream_across_batches(tmp_path: Path) -> None:
    some, labels = cifar(tmp_path / "raw" / "cifar-10-batches-bin")
    got_images, got_labels = everything(tmp_path / "raw")
    assert (got_images == some).all()
    assert (got_labels == labels).all()
    assert open_source(tmp_path / "raw" / "cifar-10-batches-bin" / "data_batch_1.bin").records == 10


def test_cifar_pickles_are_read_without_running_them(tmp_path: Path) -> None:
    some, labels = images(10, (3, 32, 32)), list(range(10))
    held = {b"data": some.reshape(10, -1), b"labels": labels, b"batch_label": b"training batch 1 of 5"}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(held, protocol=2))
    got_images, got_labels = everything(tmp_path)
    assert (got_images == some).all()
    assert got_labels.tolist() == labels


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


def test_a_doctored_pickle_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Evil(tmp_path / "ran"), b"labels": []}))
    assert "not allowed" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_doctored_archive_unpickles_nothing(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=images(3), labels=np.array([Evil(tmp_path / "ran")] * 3, object))
    assert "never loaded" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_folders_number_classes_and_mark_other_shapes(tmp_path: Path) -> None:
    for name, size in [("a/1.png", 8), ("a/2.png", 8), ("b/1.png", 9), ("b/2.jpg", 8)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((size, size, 3), 77, np.uint8)).save(tmp_path / name)
    source = open_source(tmp_path)
    assert (source.kind, source.shape, source.records) == ("folder", (3, 8, 8), 4)
    (batch,) = source.batches(10)
    assert batch.labels.tolist() == [0, 0, 1, 1]
    assert batch.malformed is not None
    assert batch.malformed.tolist() == [False, False, True, False]
    assert (batch.images[0] == 77).all()


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((8, 6), 5, np.uint8)).save(tmp_path / "a" / "1.png")
    assert open_source(tmp_path).shape == (1, 8, 6)


@pytest.mark.parametrize("layout", ["stored", "deflated", "cifar", "pickled", "folder"])
def test_pieces_travel_to_another_process_and_load_there(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "x"
    if layout in ("stored", "deflated"):
        (np.savez if layout == "stored" else np.savez_compressed)(
            path.with_suffix(".npz"), images=images(30), labels=np.arange(30, dtype=np.int8)
        )
        path = path.with_suffix(".npz")
    elif layout == "cifar":
        cifar(path)
    elif layout == "pickled":
        path.mkdir()
        held = {b"data": images(30, (3, 32, 32)).reshape(30, -1), b"labels": [i % 10 for i in range(30)]}
        (path / "data_batch_1").write_bytes(pickle.dumps(held, protocol=2))
    else:
        (path / "a").mkdir(parents=True)
        for i, image in enumerate(images(30)):
            Image.fromarray(image.transpose(1, 2, 0)).save(path / "a" / f"{i:02}.png")
    source = open_source(path)
    sent = [pickle.dumps(piece) for piece in source.pieces(7)]
    got = [pickle.loads(piece).load() for piece in reversed(sent)][::-1]  # noqa: S301 - our own
    assert [batch.labels.size for batch in got] == [7, 7, 7, 7, 2]
    want_images, want_labels = everything(path)
    assert (np.concatenate([batch.images for batch in got]) == want_images).all()
    assert (np.concatenate([batch.labels for batch in got]) == want_labels).all()
    random_access = layout in ("stored", "cifar", "folder")
    assert (max(map(len, sent)) < 7 * want_images[0].size) == random_access  # a place, not the pixels


@pytest.mark.parametrize("extra", [b"", b"\xfe\xca\x04\x00abcd"])
def test_stored_elements_are_found_behind_any_local_header(tmp_path: Path, extra: bytes) -> None:
    """The local header's extra field has a length of its own, which the central directory does not know."""
    held = io.BytesIO()
    np.savez(held, images=images(9), labels=np.arange(9))
    with zipfile.ZipFile(held) as source, zipfile.ZipFile(tmp_path / "x.npz", "w") as target:
        target.writestr("note.txt", "first in the file")
        for name in ("labels.npy", "images.npy"):
            info = zipfile.ZipInfo(name)
            info.extra = extra
            target.writestr(info, source.read(name))
    got_images, got_labels = everything(tmp_path / "x.npz")
    assert (got_images == images(9)).all()
    assert (got_labels == np.arange(9)).all()


def test_a_file_cut_after_it_was_opened_is_an_error(tmp_path: Path) -> None:
    source = open_source(save(tmp_path / "x.npz"))
    pieces = list(source.pieces(7))
    with source.files[0].open("r+b") as file:
        file.truncate(5000)
    assert pieces[0].load().labels.size == 7
    with pytest.raises(BadInputError, match="bytes early"):
        pieces[-1].load()


def damaged(path: Path, how: str) -> Path:
    save(path)
    data = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped":
        data[len(data) // 2] ^= 1  # inside the pixels: only the checksum shows it
        path.write_bytes(data)
    elif how == "text":
        path.write_text("these are not the images you are looking for")
    else:
        arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {
            "float": (images(5).astype(np.float32), np.arange(5)),
            "grey": (images(5)[:, 0], np.arange(5)),
            "few labels": (images(5), np.arange(4)),
            "float labels": (images(5), np.arange(5) / 2),
            "no records": (images(5)[:0], np.arange(0)),
            "fortran": (np.asfortranarray(images(5)), np.arange(5)),
        }
        np.savez(path, images=arrays[how][0], labels=arrays[how][1])
    return path


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("truncated", "cannot be read"),
        ("empty", "cannot be read"),
        ("flipped", "CRC"),
        ("text", "cannot be read"),
        ("float", "must be uint8"),
        ("grey", "NxCxHxW"),
        ("few labels", "one a record"),
        ("float labels", "must be integers"),
        ("no records", "nothing in it"),
        ("fortran", "Fortran"),
    ],
)
def test_a_broken_archive_gives_one_clear_error(tmp_path: Path, how: str, says: str) -> None:
    path = damaged(tmp_path / "x.npz", how)
    message = refusal(path)
    assert says in message
    assert str(path) in message
    assert "\n" not in message


def test_a_header_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 3, 8, 8)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(100))
        archive.writestr("labels.npy", header.getvalue())
    assert "not what its shape" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["auto", "npz", "cifar10", "folder"])
def test_nothing_there(tmp_path: Path, kind: str) -> None:
    (tmp_path / "empty").mkdir()
    assert "--data" in refusal(tmp_path / "empty", kind)
    assert "does not exist" in refusal(tmp_path / "absent", kind)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", pictures=images(3), labels=np.arange(3))
    assert "no array 'images' (it holds pictures, labels)" in refusal(tmp_path)


def test_a_truncated_cifar_batch_is_named(tmp_path: Path) -> None:
    cifar(tmp_path / "c")
    with (tmp_path / "c" / "data_batch_2.bin").open("r+b") as file:
        file.truncate(5000)
    assert "data_batch_2.bin" in refusal(tmp_path / "c")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_an_undecodable_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").write_bytes(content)
    assert "2.png" in refusal(tmp_path)
