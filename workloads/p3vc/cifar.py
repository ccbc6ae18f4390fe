"""CIFAR-10 as its authors publish it: the binary version, and the Python version without trusting its pickles.

https://www.cs.toronto.edu/~kriz/cifar.html. Every batch found is released, the test batch too: its images are of
people's things as much as the others.
"""

from __future__ import annotations

import _codecs
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p3vc.errors import BadInputError
from p3vc.formats import Batch, Piece, Source, regular

_NAME = re.compile(r"^(data_batch_\d+|test_batch)(\.bin)?$")
_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS
_LAST_LABEL = 9


def batches_in(path: Path) -> tuple[Path, ...]:
    """Return the batch files at ``path`` or one folder below, in order; the binary version is preferred."""
    if path.is_file():
        return (path,) if _NAME.match(path.name) else ()
    for folder in (path, *sorted(child for child in path.iterdir() if child.is_dir())):
        found = sorted(file for file in folder.iterdir() if _NAME.match(file.name))
        binary = tuple(file for file in found if file.suffix == ".bin")
        if found:
            return binary or tuple(found)
    return ()


def open_cifar(path: Path) -> Source:
    """Open a folder of batches, or one batch.

    Raises:
        BadInputError: no batch, or one of a wrong size.
    """
    files = batches_in(path)
    if not files:
        raise BadInputError(f"--data {path}: no CIFAR-10 batch there; expected data_batch_1.bin … and test_batch.bin")
    return Cifar10(files)


class Cifar10(Source):
    """Batches of 3 x 32 x 32 records with labels 0..9."""

    kind = "cifar10"
    shape = (3, 32, 32)

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.files = tuple(regular(file) for file in files)
        self._binary = files[0].suffix == ".bin"
        self._counts = [self._count(file) for file in files]
        self.records = sum(self._counts)

    def _count(self, file: Path) -> int:
        if not self._binary:
            return _pickled(file)[1].size
        count, rest = divmod(file.stat().st_size, _RECORD)
        if rest or not count:
            raise BadInputError(
                f"{file}: {file.stat().st_size} bytes is no multiple of {_RECORD}: truncated or not CIFAR-10"
            )
        return count

    def pieces(self, size: int) -> Iterator[Piece]:
        """Yield places in the binary version, or the records of the Python version."""
        if self._binary:
            return self._places(size)
        return self._records(size)

    def _places(self, size: int) -> Iterator[Piece]:
        ends = np.cumsum(self._counts)
        for first in range(0, self.records, size):
            last, parts = min(first + size, self.records), []
            for file, count, end in zip(self.files, self._counts, ends.tolist(), strict=True):
                low, high = max(first, end - count), min(last, end)
                if low < high:
                    parts.append((file, low - (end - count), high - low))
            yield _Rows(tuple(parts))

    def _records(self, size: int) -> Iterator[Piece]:
        images, labels = np.empty((0, *self.shape), np.uint8), np.empty(0, np.int64)
        for file in self.files:
            more_images, more_labels = _pickled(file)
            images, labels = np.concatenate([images, more_images]), np.concatenate([labels, more_labels])
            whole = labels.size - labels.size % size
            for start in range(0, whole, size):
                yield Batch(images[start : start + size], labels[start : start + size])
            images, labels = images[whole:], labels[whole:]
        if labels.size:
            yield Batch(images, labels)


@dataclass(frozen=True)
class _Rows:
    """Consecutive records of the binary version: runs of (file, first record, count)."""

    parts: tuple[tuple[Path, int, int], ...]

    def load(self) -> Batch:
        rows = np.concatenate([_read(*part) for part in self.parts])
        images = np.ascontiguousarray(rows[:, 1:]).reshape(-1, *Cifar10.shape)
        return Batch(images, rows[:, 0].astype(np.int64))


def _read(file: Path, first: int, count: int) -> NDArray[np.uint8]:
    rows = np.empty((count, _RECORD), np.uint8)
    with file.open("rb") as stream:
        stream.seek(first * _RECORD)
        if stream.readinto(rows.data) != rows.size:
            raise BadInputError(f"{file}: ends inside a record: truncated")
    if rows[:, 0].max() > _LAST_LABEL:
        raise BadInputError(
            f"{file}: has a record with label {rows[:, 0].max()} instead of 0 to {_LAST_LABEL}: damaged or not CIFAR-10"
        )
    return rows


class _ArraysOnly(pickle.Unpickler):
    """Loads what a CIFAR-10 pickle needs and nothing else, so a doctored file cannot run code."""

    _ALLOWED: dict[tuple[str, str], Any] = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
        ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed constructor."""
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed") from None


def _pickled(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        with file.open("rb") as stream:
            held = _ArraysOnly(stream, encoding="bytes").load()
        images, labels = held[b"data"], np.asarray(held[b"labels"])
        if not labels.size:
            raise ValueError("it holds no record")
        if images.dtype != np.uint8 or images.shape != (labels.size, _PIXELS):
            raise ValueError(f"data is {images.dtype} {images.shape} with {labels.size} labels")
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise ValueError(
                f"its labels are {labels.dtype} of shape {labels.shape}; they must be integers, one a record"
            )
        if labels.min() < 0 or labels.max() > _LAST_LABEL:
            raise ValueError(f"its labels are {labels.min()} to {labels.max()} instead of 0 to {_LAST_LABEL}")
    except Exception as error:  # a doctored pickle may raise anything
        raise BadInputError(
            f"{file}: is not a CIFAR-10 batch of the Python version ({error}); download it again, or use the binary "
            "version"
        ) from error
    return images.reshape(-1, 3, 32, 32), labels.astype(np.int64)
