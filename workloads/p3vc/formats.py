"""Raw datasets, streamed: ``.npz``, CIFAR-10, and folders of images.

A source knows its record count and shape from headers alone, then yields batches in order, so that memory does not
depend on the dataset's size.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from p3vc.errors import BadInputError

FORMATS = ("auto", "npz", "cifar10", "folder")
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Batch:
    """Consecutive records. ``malformed`` marks those whose image had another shape (their pixels are zero here)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    malformed: NDArray[np.bool_] | None = None


class Source(ABC):
    """A raw dataset whose headers have been read and whose records have not."""

    kind: str
    files: tuple[Path, ...]
    records: int
    shape: Shape

    @abstractmethod
    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all records in order, ``size`` a batch and fewer in the last.

        Raises:
            BadInputError: the data is truncated or corrupt.
        """

    def fingerprint(self) -> str:
        """Return a digest of the files' names, sizes and times: equal means the same files untouched, nothing more."""
        state = hashlib.sha256(self.kind.encode())
        for file in self.files:
            status = file.stat()
            state.update(
                f"\0{file.parent.name}/{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}".encode()
            )
        return state.hexdigest()


class Npz(Source):
    """An archive with ``images`` (uint8, N x C x H x W) and ``labels`` (integers, N), stored or deflated."""

    kind = "npz"

    def __init__(self, path: Path) -> None:
        self.files = (path,)
        try:
            with zipfile.ZipFile(path) as archive:
                shape, dtype = _npy_header(archive, "images", path)
                if dtype != np.uint8 or len(shape) != 4:
                    raise BadInputError(
                        f"{path}: 'images' is {dtype} of shape {shape}; it must be uint8 of shape NxCxHxW "
                        "(for grey images C is 1: images[:, None])"
                    )
                label_shape, label_dtype = _npy_header(archive, "labels", path)
                if label_dtype.kind not in "iu" or label_shape != shape[:1]:
                    raise BadInputError(
                        f"{path}: 'labels' is {label_dtype} of shape {label_shape}; it must be integers of shape "
                        f"({shape[0]},), one a record"
                    )
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
            raise _damaged(path, error) from error
        if 0 in shape:
            raise BadInputError(f"{path}: 'images' has shape {shape}: there is nothing in it to release")
        self.records, self.shape = shape[0], (shape[1], shape[2], shape[3])

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the archive's records; its checksums are verified by the time the last one is out."""
        path = self.files[0]
        record = int(np.prod(self.shape))
        try:
            with zipfile.ZipFile(path) as archive, archive.open("images.npy") as images:
                with archive.open("labels.npy") as file:
                    _, dtype = _read_header(file)
                    labels = np.frombuffer(_exactly(file, self.records * dtype.itemsize), dtype).astype(np.int64)
                    file.read(1)  # the checksum is compared at the end of the member
                _read_header(images)
                for start in range(0, self.records, size):
                    count = min(size, self.records - start)
                    pixels = np.frombuffer(_exactly(images, count * record), np.uint8)
                    if start + count == self.records:
                        images.read(1)
                    yield Batch(pixels.reshape(count, *self.shape), labels[start : start + count])
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> BadInputError:
    return BadInputError(f"{path}: cannot be read as an .npz archive ({error}); copy or export it again")


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise EOFError(f"it ends {count - len(data)} bytes early")
    return data


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if fortran:
        raise ValueError("an array is in Fortran order; save it with numpy.ascontiguousarray")
    return shape, dtype


def _npy_header(archive: zipfile.ZipFile, name: str, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        held = ", ".join(member.removesuffix(".npy") for member in archive.namelist()) or "nothing"
        raise BadInputError(
            f"{path}: has no array '{name}' (it holds {held}); it needs 'images' and 'labels'"
        ) from None
    with archive.open(info) as file:
        shape, dtype = _read_header(file)
        if dtype.hasobject:
            raise ValueError(f"'{name}' holds Python objects, which are never loaded")
        if info.file_size != file.tell() + int(np.prod(shape, dtype=object)) * dtype.itemsize:
            raise EOFError(f"'{name}' has {info.file_size} bytes, which is not what its shape {shape} needs")
    return shape, dtype


def open_source(path: Path, kind: str = "auto", shape: Shape | None = None) -> Source:
    """Open a dataset.

    Args:
        path: a file or a folder.
        kind: ``npz``, ``cifar10``, ``folder``, or ``auto`` to tell from what is there.
        shape: the declared image shape; a folder's is that of its first image when None.

    Raises:
        BadInputError: nothing there, or not what ``kind`` says.
    """
    from p3vc import cifar, folder  # noqa: PLC0415 - they import this module's Source

    if not path.exists():
        raise BadInputError(f"--data {path}: does not exist; name a file or folder with the raw dataset")
    if kind == "auto":
        kind = _detect(path)
    if kind == "npz":
        return Npz(_archive(path))
    if kind == "cifar10":
        return cifar.open_cifar(path)
    return folder.Folder(path, shape)


def _archive(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*.npz"))
    if len(found) != 1:
        raise BadInputError(
            f"--data {path}: holds {len(found)} .npz files; exactly one is needed, or name the file itself"
        )
    return found[0]


def _detect(path: Path) -> str:
    from p3vc.cifar import batches_in  # noqa: PLC0415

    if path.is_file():
        return "cifar10" if batches_in(path) else "npz"
    if any(path.glob("*.npz")):
        return "npz"
    if batches_in(path):
        return "cifar10"
    if any(child.is_dir() for child in path.iterdir()):
        return "folder"
    raise BadInputError(
        f"--data {path}: no dataset found; expected one .npz file, CIFAR-10's data_batch_* files, or a folder a class "
        "with images in it"
    )
