"""The private copy: two arrays to memory-map and a manifest that appears last.

``images.npy`` (uint8, N x C x H x W, full size) and ``labels.npy`` (int64, N) are written under other names with
mode 0600, made durable, then renamed; ``manifest.json`` follows, so a folder with a manifest holds a whole release.
Group members may read the result (a pod's fsGroup).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from p3vc.chain import replace, sync_folder, write_all
from p3vc.errors import BadInputError

MANIFEST = "manifest.json"
_HEADER = 128
_MODE = 0o640


class ArrayWriter:
    """Writes an array of unknown length row by row; becomes visible on ``publish``."""

    def __init__(self, path: Path, row: tuple[int, ...], dtype: str) -> None:
        self.path, self._row, self._dtype = path, row, np.dtype(dtype)
        self._beside = path.with_name(f".{path.name}.partial")
        self._digest, self._count = hashlib.sha256(), 0
        self._file = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        write_all(self._file, bytes(_HEADER))

    def append(self, rows: NDArray[Any]) -> None:
        """Write more rows."""
        data = np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data
        write_all(self._file, data)
        self._digest.update(data)
        self._count += len(rows)

    def finish(self) -> dict[str, Any]:
        """Write the header, make the file durable and describe it for the manifest."""
        header = io.BytesIO()
        shape = (self._count, *self._row)
        npy.write_array_header_1_0(
            header, {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        )
        if len(header.getvalue()) != _HEADER:
            raise ValueError(f"the header of {self.path.name} does not fit {_HEADER} bytes")
        os.pwrite(self._file, header.getvalue(), 0)
        os.fchmod(self._file, _MODE)
        os.fsync(self._file)
        os.close(self._file)
        self._file = -1
        return {
            "file": self.path.name,
            "dtype": str(self._dtype),
            "shape": list(shape),
            "sha256": self._digest.hexdigest(),  # of the elements in C order, without the file's header
        }

    def publish(self) -> None:
        """Give the file its name."""
        os.replace(self._beside, self.path)  # noqa: PTH105

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._beside.unlink(missing_ok=True)


class Output:
    """A release in the making in ``folder``. As a context, it leaves no partial file when it is not published."""

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.images = ArrayWriter(folder / "images.npy", shape, "|u1")
        self.labels = ArrayWriter(folder / "labels.npy", (), "<i8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.images.discard()
        self.labels.discard()

    def publish(self, manifest: dict[str, Any]) -> str:
        """Make the arrays and then the manifest visible; return the manifest's digest.

        An older release in the folder stops being one before its arrays are replaced.
        """
        arrays = {"images": self.images.finish(), "labels": self.labels.finish()}
        with contextlib.suppress(FileNotFoundError):
            (self.folder / MANIFEST).unlink()
            sync_folder(self.folder)
        self.images.publish()
        self.labels.publish()
        sync_folder(self.folder)
        data = json.dumps({**manifest, "arrays": arrays}, indent=2, sort_keys=True).encode() + b"\n"
        replace(self.folder / MANIFEST, data, _MODE)
        return hashlib.sha256(data).hexdigest()


def verify(folder: Path, claim: str | None = None) -> tuple[dict[str, Any], str]:
    """Return the manifest of a complete release and its digest.

    Args:
        folder: the private copy.
        claim: the claim it must be of; None for any.

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
        named = {name: arrays[name] for name in ("images", "labels")}
    except (ValueError, KeyError, TypeError):
        raise BadInputError(f"{folder / MANIFEST}: is not a manifest of p3vc") from None
    if claim is not None and held != claim:
        raise BadInputError(f"--release {folder}: holds the release of claim {held}, not of {claim}")
    for name, wanted in named.items():
        path = folder / f"{name}.npy"
        found = _describe(path)
        different = [
            f"{key} {found[key]} instead of {wanted.get(key)}" for key in found if found[key] != wanted.get(key)
        ]
        if different:
            raise BadInputError(f"{path}: is not what the manifest says: {'; '.join(different)}")
    return manifest, hashlib.sha256(data).hexdigest()


def _describe(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
            state = hashlib.sha256()
            while block := file.read(1 << 20):
                state.update(block)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read as an array ({error})") from error
    return {"dtype": str(dtype), "shape": list(shape), "sha256": state.hexdigest()}
