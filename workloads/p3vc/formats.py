"""Raw datasets, streamed: ``.npz``, CIFAR-10, and folders of images.

A source knows its record count and shape from headers alone, then names its batches in order, so that memory does not
depend on the dataset's size. Where the format allows it, a batch is named by its place in a file and read by the
process that needs it.
"""

from __future__ import annotations

import hashlib
import lzma
import math
import os
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from p3vc.errors import BadInputError

FORMATS = ("auto", "npz", "cifar10", "folder")
Shape = tuple[int, int, int]
MAX_RECORD_BYTES = 1 << 26  # a release takes some twenty times as much memory for a batch, a record at least


class Piece(Protocol):
    """What stands for consecutive records until they are needed: small to send, or the records themselves."""

    def load(self) -> Batch:
        """Return the records.

        Raises:
            BadInputError: the data is truncated or corrupt.
        """


@dataclass(frozen=True)
class Batch:
    """Consecutive records. ``malformed`` marks those whose image had another shape (their pixels are zero here)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    malformed: NDArray[np.bool_] | None = None

    def load(self) -> Batch:
        """Return itself: a batch of a format that can only be read from the beginning."""
        return self


class Source(ABC):
    """A raw dataset whose headers have been read and whose records have not."""

    kind: str
    files: tuple[Path, ...]
    records: int
    shape: Shape

    @abstractmethod
    def pieces(self, size: int) -> Iterator[Piece]:
        """Yield all records in order, ``size`` a piece and fewer in the last.

        Raises:
            BadInputError: the data is truncated or corrupt.
        """

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield what ``pieces`` stand for."""
        for piece in self.pieces(size):
            yield piece.load()

    def verify(self) -> None:  # noqa: B027 - most formats have none
        """Compare the checksums that the format has and that loading pieces does not compare.

        Raises:
            BadInputError: the data is corrupt.
        """

    def fingerprint(self) -> str:
        """Return a digest of the files' names, sizes and times: equal means the same files untouched, nothing more.

        It depends on the raw data (a compressed file's size does), so only its keyed form is kept.
        """
        state = hashlib.sha256(self.kind.encode())
        for file in self.files:
            now = file.stat()  # the time of change, too: that of modification can be set back
            times = f"{now.st_size}\0{now.st_mtime_ns}\0{now.st_ctime_ns}\0{now.st_ino}"
            state.update(os.fsencode(f"\0{file.parent.name}/{file.name}\0{times}"))
        return state.hexdigest()


def bounded(shape: tuple[int, ...], what: str) -> None:
    """Refuse records too large to be released, before memory is taken for one.

    Raises:
        BadInputError: a record of this shape has more than ``MAX_RECORD_BYTES``.
    """
    size = math.prod(shape)
    if size > MAX_RECORD_BYTES:
        raise BadInputError(
            f"{what}: a record of {'x'.join(map(str, shape))} has {size} bytes; at most {MAX_RECORD_BYTES} are "
            "allowed, for a release needs some twenty times as much memory: cut or shrink the images"
        )


class Npz(Source):
    """An archive with ``images`` (uint8, N x C x H x W) and ``labels`` (integers, N), stored or deflated."""

    kind = "npz"

    def __init__(self, path: Path) -> None:
        self.files = (regular(path),)
        try:
            with zipfile.ZipFile(path) as archive:
                images, labels = (_member(archive, name, path) for name in ("images", "labels"))
        except _UNREADABLE as error:
            raise _damaged(path, error) from error
        shape = images.shape
        if images.dtype != np.uint8 or len(shape) != 4:
            raise BadInputError(
                f"{path}: 'images' is {images.dtype} of shape {shape}; it must be uint8 of shape NxCxHxW "
                "(for grey images C is 1: images[:, None])"
            )
        if labels.dtype.kind not in "iu" or labels.shape != shape[:1]:
            raise BadInputError(
                f"{path}: 'labels' is {labels.dtype} of shape {labels.shape}; it must be integers of shape "
                f"({shape[0]},), one a record"
            )
        if 0 in shape:
            raise BadInputError(f"{path}: 'images' has shape {shape}: there is nothing in it to release")
        bounded(shape[1:], str(path))
        self.records, self.shape = shape[0], (shape[1], shape[2], shape[3])
        self._images = images

    def pieces(self, size: int) -> Iterator[Piece]:
        """Yield places in a stored archive, or the records of a deflated one, whose checksum has then been compared."""
        path, record = self.files[0], math.prod(self.shape)
        try:
            with zipfile.ZipFile(path) as archive:
                labels = _labels(archive)
                parts = [labels[start : start + size] for start in range(0, self.records, size)]
                if self._images.start is not None:
                    for i, part in enumerate(parts):
                        yield _Stored(path, self._images.start + i * size * record, self.shape, part)
                    return
                with archive.open("images.npy") as images:
                    read_header(images)
                    for i, part in enumerate(parts):
                        pixels = np.frombuffer(_exactly(images, part.size * record), np.uint8)
                        if i == len(parts) - 1:
                            images.read(1)  # the checksum is compared at the end of the member
                        yield Batch(pixels.reshape(part.size, *self.shape), part)
        except _UNREADABLE as error:
            raise _damaged(path, error) from error

    def verify(self) -> None:
        """Compare the checksum of stored images, which are then read by place."""
        if self._images.start is None:
            return
        try:
            with zipfile.ZipFile(self.files[0]) as archive, archive.open("images.npy") as images:
                while images.read(1 << 20):
                    pass
        except _UNREADABLE as error:
            raise _damaged(self.files[0], error) from error


@dataclass(frozen=True)
class _Stored:
    """Records in a stored member of an archive; the labels are few bytes and come along."""

    path: Path
    start: int  # byte in the file
    shape: Shape
    labels: NDArray[np.int64]

    def load(self) -> Batch:
        try:
            pixels = np.empty((self.labels.size, *self.shape), np.uint8)
            with self.path.open("rb") as file:
                file.seek(self.start)
                short = pixels.size - file.readinto(pixels.data)
        except OSError as error:
            raise _damaged(self.path, error) from error
        if short:
            raise _damaged(self.path, EOFError(f"it ends {short} bytes early"))
        return Batch(pixels, self.labels)


@dataclass(frozen=True)
class _Member:
    """An array of an archive: what its header says, and where its elements start in the file unless deflated."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int | None


# RuntimeError: encrypted, or a compression that this Python lacks.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, OverflowError, RuntimeError, OSError),
)


def _damaged(path: Path, error: Exception) -> BadInputError:
    said = str(error) or "it ends early"  # zipfile's EOFError says nothing
    return BadInputError(f"{path}: cannot be read as an .npz archive ({said}); copy or export it again")


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise EOFError(f"it ends {count - len(data)} bytes early")
    return data


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the shape and type of an ``.npy`` array.

    Raises:
        ValueError: the header is damaged, or of an array that cannot be read in order.
    """
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # NumPy parses a header as Python: a doctored one may raise anything
        said, _, _ = str(error).partition("\n")
        raise ValueError(f"an array's header is damaged: {said:.200}") from error
    if not all(type(size) is int and size >= 0 for size in shape):  # bool is an int to NumPy
        raise ValueError(f"an array's header says shape {shape}")
    if fortran:
        raise ValueError("an array is in Fortran order; save it with numpy.ascontiguousarray")
    return shape, dtype


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> _Member:
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        held = ", ".join(member.removesuffix(".npy") for member in archive.namelist()) or "nothing"
        raise BadInputError(
            f"{path}: has no array '{name}' (it holds {held}); it needs 'images' and 'labels'"
        ) from None
    with archive.open(info) as file:
        shape, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"'{name}' holds Python objects, which are never loaded")
        header = file.tell()
    if info.file_size != header + math.prod(shape) * dtype.itemsize:
        raise EOFError(f"'{name}' has {info.file_size} bytes, which is not what its shape {shape} needs")
    stored = info.compress_type == zipfile.ZIP_STORED
    return _Member(shape, dtype, _start(path, info) + header if stored else None)


def _start(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where a member's bytes start: after its local header, whose two last fields are the lengths that follow.

    PKWARE's APPNOTE.TXT, section 4.3.7.
    """
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", _exactly(file, 4))
    return int(info.header_offset + 30 + name + extra)


def _labels(archive: zipfile.ZipFile) -> NDArray[np.int64]:
    with archive.open("labels.npy") as file:
        (count,), dtype = read_header(file)
        labels = np.frombuffer(_exactly(file, count * dtype.itemsize), dtype).astype(np.int64)
        file.read(1)  # the checksum is compared at the end of the member
    return labels


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


def regular(path: Path) -> Path:
    """Return the path of a regular file, or of a link to one: opening a pipe or a device could wait for ever.

    Raises:
        BadInputError: it is something else.
    """
    if not path.is_file():
        raise BadInputError(f"{path}: is no regular file; replace or remove it")
    return path


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
