"""The private copy: two arrays to memory-map and a manifest that appears last.

``images.npy`` (uint8, N x C x H x W, full size) and ``labels.npy`` (int64, N) are written under other names with
mode 0600, made durable, then renamed; ``manifest.json`` follows, so a folder with a manifest holds a whole release.
Group members may read the result (a pod's fsGroup).

The manifest's digest of an array is a hash of hashes, so that every core can take part: its elements in C order,
without the file's header, are cut into blocks of ``block_bytes`` bytes and a shorter last one, and ``sha256_of_blocks``
is the SHA-256 of the blocks' SHA-256 digests (32 bytes each, in order).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from p3vc.chain import replace, sync_folder
from p3vc.errors import BadInputError
from p3vc.formats import read_header
from p3vc.pipeline import Crew

MANIFEST = "manifest.json"
BLOCK_BYTES = 1 << 20
_HEADER = 128
_MODE = 0o640


class ArrayWriter:
    """Writes an array of unknown length, row by row or, from any process, in place; becomes visible on ``publish``."""

    def __init__(self, path: Path, row: tuple[int, ...], dtype: str) -> None:
        self.path, self._row, self._dtype = path, row, np.dtype(dtype)
        self.beside = path.with_name(f".{path.name}.partial")
        self.count = 0
        self._file = os.open(self.beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def append(self, rows: NDArray[Any]) -> None:
        """Write more rows at the end."""
        self.write(self.count, rows)
        self.count += len(rows)

    def write(self, first: int, rows: NDArray[Any]) -> None:
        """Write rows where they belong; ``count`` is the caller's to set."""
        data = np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data
        place = _HEADER + first * self._dtype.itemsize * int(np.prod(self._row, dtype=object))
        while data:  # however short the system's writes are
            written = os.pwrite(self._file, data, place)
            data, place = data[written:], place + written

    def header(self) -> dict[str, Any]:
        """Write the header and describe the array for the manifest."""
        header = io.BytesIO()
        shape = (self.count, *self._row)
        npy.write_array_header_1_0(
            header, {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        )
        if len(header.getvalue()) != _HEADER:
            raise ValueError(f"the header of {self.path.name} does not fit {_HEADER} bytes")
        os.pwrite(self._file, header.getvalue(), 0)
        os.fchmod(self._file, _MODE)
        return {"file": self.path.name, "dtype": str(self._dtype), "shape": list(shape)}

    def sync(self) -> None:
        """Make the file durable."""
        os.fsync(self._file)

    def publish(self) -> None:
        """Give the file its name."""
        os.close(self._file)
        self._file = -1
        os.replace(self.beside, self.path)  # noqa: PTH105

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self.beside.unlink(missing_ok=True)


class Output:
    """A release in the making in ``folder``, where no other can be made meanwhile.

    As a context, it leaves no partial file when it is not published.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = _lock(folder)
        self.images = ArrayWriter(folder / "images.npy", shape, "|u1")
        self.labels = ArrayWriter(folder / "labels.npy", (), "<i8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.images.discard()
        self.labels.discard()
        os.close(self._lock)

    def extend(self, count: int, rows: tuple[NDArray[np.uint8], NDArray[np.int64]] | None) -> None:
        """Add ``count`` records: these rows, or those that a worker wrote at this place."""
        for array, some in zip((self.images, self.labels), rows or (None, None), strict=True):
            if some is not None:
                array.append(some)
            else:
                array.count += count

    def publish(self, manifest: dict[str, Any], crew: Crew[Any] | None = None) -> str:
        """Make the arrays and then the manifest visible; return the manifest's digest.

        An older release in the folder stops being one before its arrays are replaced. ``crew`` digests the arrays while
        the disk takes them.
        """
        arrays = {"images": self.images, "labels": self.labels}
        described = {name: array.header() for name, array in arrays.items()}
        with ThreadPoolExecutor(1) as disk:
            durable = [disk.submit(array.sync) for array in arrays.values()]
            for name, array in arrays.items():
                described[name] |= digest(array.beside, crew or Crew(None, 1))
            for one in durable:
                one.result()
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


def digest(path: Path, crew: Crew[Any]) -> dict[str, Any]:
    """Return an array file's digest as the manifest has it.

    Raises:
        OSError: the file cannot be read.
    """
    state, starts = hashlib.sha256(), range(_HEADER, path.stat().st_size, BLOCK_BYTES)
    for block in crew.run(_digest_block, ((path, start) for start in starts), len(starts)):
        state.update(block)
    return {"block_bytes": BLOCK_BYTES, "sha256_of_blocks": state.hexdigest()}


def _digest_block(_: object, __: int, block: tuple[Path, int]) -> bytes:
    path, start = block
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return hashlib.sha256(file.read(BLOCK_BYTES)).digest()


def verify(folder: Path, claim: str | None = None, workers: int | None = None) -> tuple[dict[str, Any], str]:
    """Return the manifest of a complete release and its digest.

    Args:
        folder: the private copy.
        claim: the claim it must be of; None for any.
        workers: processes that digest the arrays; all cores given to this process when None.

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
    if claim is not None and held != claim:
        raise BadInputError(f"--release {folder}: holds the release of claim {held}, not of {claim}")
    for name, wanted in named.items():
        path = folder / f"{name}.npy"
        found = _describe(path, workers, linear="sha256" in wanted)
        different = [
            f"{key} {found[key]} instead of {wanted.get(key)}" for key in found if found[key] != wanted.get(key)
        ]
        if different:
            raise BadInputError(f"{path}: is not what the manifest says: {'; '.join(different)}")
    return manifest, hashlib.sha256(data).hexdigest()


def _describe(path: Path, workers: int | None, *, linear: bool) -> dict[str, Any]:
    """Describe an array as the manifest does; ``linear``: as those did whose digest was one hash of all elements."""
    try:
        with path.open("rb") as file:
            shape, dtype = read_header(file)
            if file.tell() != _HEADER:
                raise ValueError(f"its header has {file.tell()} bytes instead of {_HEADER}")
            described = {"dtype": str(dtype), "shape": list(shape)}
            if linear:
                return described | {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        with Crew(None, workers, path.stat().st_size // BLOCK_BYTES) as crew:
            return described | digest(path, crew)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read as an array ({error})") from error
