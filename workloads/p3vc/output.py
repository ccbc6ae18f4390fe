"""The private copy: two arrays to memory-map and a manifest that appears last.

``images.npy`` (uint8, N x C x H x W, full size) and ``labels.npy`` (int64, N) are written under other names with
mode 0600, made durable, then renamed; ``manifest.json`` follows, so a folder with a manifest holds a whole release.
Group members may read the result (a pod's fsGroup).

The manifest's digest of an array is a hash of hashes, so that every core can take part: its elements in C order,
without the file's header, are cut into blocks of ``block_bytes`` bytes and a shorter last one, and ``sha256_of_blocks``
is the SHA-256 of the blocks' SHA-256 digests (32 bytes each, in order). A block holds the records of a batch, so a
worker digests what it has just made while that is in its core's cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from contract.files import MANIFEST
from p3vc.chain import create, replace, sync_folder
from p3vc.dataset import batch_records
from p3vc.errors import BadInputError
from p3vc.formats import Shape, read_header
from p3vc.pipeline import Crew

_HEADER = 128
_MODE = 0o640
_READ_BYTES = 1 << 18
_SYNC_SECONDS = 0.01


class ArrayWriter:
    """Writes an array of unknown length, at its end or, from any process, in place; visible on ``publish``.

    Args:
        path: the file it becomes.
        row: shape of a record.
        dtype: of the elements.
        block: records in a block of the digest.
    """

    def __init__(self, path: Path, row: tuple[int, ...], dtype: str, block: int) -> None:
        self.path, self._row, self._dtype = path, row, np.dtype(dtype)
        self.beside = path.with_name(f".{path.name}.partial")
        self.count = 0
        self._block_bytes = block * self._row_bytes
        self._blocks, self._begun, self._begun_bytes = hashlib.sha256(), hashlib.sha256(), 0
        self._file = create(self.beside, 0o600)
        self._behind: _SyncBehind | None = None

    @property
    def _row_bytes(self) -> int:
        return self._dtype.itemsize * int(np.prod(self._row, dtype=object))

    def append(self, rows: NDArray[Any]) -> None:
        """Write more rows at the end."""
        data = self._write(self.count * self._row_bytes, rows)
        self.count += len(rows)
        while data:
            part = data[: self._block_bytes - self._begun_bytes]
            self._begun.update(part)
            self._begun_bytes, data = self._begun_bytes + len(part), data[len(part) :]
            if self._begun_bytes == self._block_bytes:
                self._end_block()

    def write_block(self, number: int, rows: NDArray[Any]) -> bytes:
        """Write a block where it belongs and return its digest, which ``extend`` is to be given."""
        return hashlib.sha256(self._write(number * self._block_bytes, rows)).digest()

    def extend(self, count: int, digest: bytes) -> None:
        """Take the next ``count`` records, which are the block of this digest, for written."""
        self.count += count
        self._blocks.update(digest)

    def _write(self, place: int, rows: NDArray[Any]) -> memoryview:
        data = whole = np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data
        place += _HEADER
        while data:  # however short the system's writes are
            written = os.pwrite(self._file, data, place)
            data, place = data[written:], place + written
        return whole

    def _end_block(self) -> None:
        self._blocks.update(self._begun.digest())
        self._begun, self._begun_bytes = hashlib.sha256(), 0

    def finish(self) -> dict[str, Any]:
        """Write the header, make the file durable, and describe the array for the manifest."""
        header = io.BytesIO()
        shape = (self.count, *self._row)
        npy.write_array_header_1_0(
            header, {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        )
        if len(header.getvalue()) != _HEADER:
            raise ValueError(f"the header of {self.path.name} does not fit {_HEADER} bytes")
        os.pwrite(self._file, header.getvalue(), 0)
        os.fchmod(self._file, _MODE)
        if self._begun_bytes:
            self._end_block()
        self._stop_behind()
        os.fsync(self._file)
        return {
            "file": self.path.name,
            "dtype": str(self._dtype),
            "shape": list(shape),
            "block_bytes": self._block_bytes,
            "sha256_of_blocks": self._blocks.hexdigest(),
        }

    def sync_behind(self) -> None:
        """Have the disk take what is written while more is made, so that ``finish`` has little to wait for."""
        if self._behind is None:
            self._behind = _SyncBehind(self._file)

    def _stop_behind(self) -> None:
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.stop()

    def publish(self) -> None:
        """Give the file its name."""
        os.close(self._file)
        self._file = -1
        os.replace(self.beside, self.path)  # noqa: PTH105

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):
            self._stop_behind()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self.beside.unlink(missing_ok=True)


class _SyncBehind:
    """Syncs a file again and again in a thread; the disk says once what it could not take, and ``stop`` raises it."""

    def __init__(self, file: int) -> None:
        self._stopped = threading.Event()
        self._thread = ThreadPoolExecutor(1)
        self._ended = self._thread.submit(self._run, file)

    def _run(self, file: int) -> None:
        while not self._stopped.wait(_SYNC_SECONDS):
            os.fdatasync(file)

    def stop(self) -> None:
        """Return when the file is no longer used.

        Raises:
            OSError: the disk did not take something.
        """
        self._stopped.set()
        self._thread.shutdown()
        self._ended.result()


class Output:
    """A release in the making in ``folder``, where no other can be made meanwhile.

    As a context, it leaves no partial file when it is not published.
    """

    def __init__(self, folder: Path, shape: Shape) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = _lock(folder)
        block = batch_records(shape)
        self.images = ArrayWriter(folder / "images.npy", shape, "|u1", block)
        self.labels = ArrayWriter(folder / "labels.npy", (), "<i8", block)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.images.discard()
        self.labels.discard()
        os.close(self._lock)

    def append(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Write records at the end."""
        self.images.append(images)
        self.labels.append(labels)
        self.images.sync_behind()

    def write_batch(self, number: int, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> tuple[bytes, bytes]:
        """Write a batch where it belongs, in any process, and return the digests, which ``extend`` is to be given."""
        return self.images.write_block(number, images), self.labels.write_block(number, labels)

    def extend(self, count: int, digests: tuple[bytes, bytes]) -> None:
        """Take the next batch for written, of ``count`` records and these digests."""
        self.images.extend(count, digests[0])
        self.labels.extend(count, digests[1])
        self.images.sync_behind()

    def publish(self, manifest: dict[str, Any]) -> str:
        """Make the arrays and then the manifest durable and visible; return the manifest's digest.

        An older release in the folder stops being one before its arrays are replaced.
        """
        arrays = {"images": self.images, "labels": self.labels}
        described = {name: array.finish() for name, array in arrays.items()}
        with contextlib.suppress(FileNotFoundError):
            (self.folder / MANIFEST).unlink()
            sync_folder(self.folder)
        for array in arrays.values():
            array.publish()
        sync_folder(self.folder)
        data = json.dumps({**manifest, "arrays": described}, indent=2, sort_keys=True).encode() + b"\n"
        replace(self.folder / MANIFEST, data, _MODE)
        return hashlib.sha256(data).hexdigest()


def _lock(folder: Path) -> int:
    """Let one release at a time write to a folder, for partial files have fixed names, until the descriptor is closed.

    The lock is on the folder itself, so that nothing stays behind in what is published.

    Raises:
        BadInputError: another release has it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise BadInputError(
            f"--out {folder}: another claim is being released there; name another folder, or run the same command "
            "again when it is done"
        ) from None
    return descriptor


def verify(
    folder: Path, claim: str | None = None, workers: int | None = None, *, formerly: str | None = None
) -> tuple[dict[str, Any], str]:
    """Return the manifest of a complete release and its digest.

    Args:
        folder: the private copy.
        claim: the claim it must be of; None for any.
        workers: processes that digest the arrays; all cores given to this process when None.
        formerly: another id of that claim.

    Raises:
        BadInputError: no release, another claim's, or arrays that are not what the manifest says.
    """
    try:
        data = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise BadInputError(f"--release {folder}: no complete release there ({error.strerror}: {MANIFEST})") from None
    try:
        manifest = json.loads(data)
        held, arrays = manifest["claim"], manifest["arrays"]
        named = {name: {**arrays[name]} for name in ("images", "labels")}
        if not isinstance(manifest["statement"], str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInputError(f"{folder / MANIFEST}: is not a manifest of p3vc") from None
    if claim is not None and held not in (claim, formerly):
        raise BadInputError(f"--release {folder}: holds the release of claim {held}, not of {claim}")
    for name, wanted in named.items():
        path = folder / f"{name}.npy"
        found = _describe(path, wanted, workers)
        different = [
            f"{key} {found[key]} instead of {wanted.get(key)}" for key in found if found[key] != wanted.get(key)
        ]
        if different:
            raise BadInputError(f"{path}: is not what the manifest says: {'; '.join(different)}")
    return manifest, hashlib.sha256(data).hexdigest()


def _describe(path: Path, wanted: dict[str, Any], workers: int | None) -> dict[str, Any]:
    """Describe an array in the way in which a manifest does: one of format 1 had one hash of all elements."""
    try:
        with path.open("rb") as file:
            shape, dtype = read_header(file)
            if file.tell() != _HEADER:
                raise ValueError(f"its header has {file.tell()} bytes instead of {_HEADER}")
            described = {"dtype": str(dtype), "shape": list(shape)}
            if "sha256" in wanted:
                return described | {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        size = wanted.get("block_bytes")
        if type(size) is not int or size < 1:  # a doctored manifest: there is no such digest
            return described | {"block_bytes": "a number of bytes"}
        starts = range(_HEADER, path.stat().st_size, size)
        state = hashlib.sha256()
        with Crew(None, workers, path.stat().st_size // _READ_BYTES) as crew:
            for block in crew.run(_digest_block, ((path, start, size) for start in starts), len(starts)):
                state.update(block)
        return described | {"block_bytes": size, "sha256_of_blocks": state.hexdigest()}
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read as an array ({error})") from error


def _digest_block(_: object, __: int, block: tuple[Path, int, int]) -> bytes:
    path, start, left = block
    state = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while data := file.read(min(left, _READ_BYTES)):  # little at a time stays in a core's cache
            state.update(data)
            left -= len(data)
    return state.digest()
