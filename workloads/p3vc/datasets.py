"""Datasets to try the tool on: real digits, and noise of any size for measurements."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from p3vc.formats import Shape


def digits(out: Path) -> int:
    """Write scikit-learn's bundled 8x8 handwritten digits as ``.npz``; returns the record count.

    Grey levels 0..16 become 0..255.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - seconds of imports

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    _save(out, images, bunch.target.astype(np.int64))
    return len(images)


def synthetic(out: Path, count: int, shape: Shape, seed: int = 0, classes: int = 10) -> int:
    """Write ``count`` images of uniform noise with uniform labels, in bounded memory; returns the record count."""
    random = np.random.Generator(np.random.PCG64(seed))
    labels = random.integers(0, classes, count)
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            _header(file, (count, *shape), "|u1")
            for start in range(0, count, 1024):
                file.write(random.bytes(min(1024, count - start) * int(np.prod(shape))))
        with archive.open("labels.npy", "w") as file:
            _header(file, (count,), "<i8")
            file.write(labels.astype("<i8").tobytes())
    return count


def _header(file: IO[bytes], shape: tuple[int, ...], dtype: str) -> None:
    npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})


def _save(out: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    with out.open("wb") as file:
        np.savez_compressed(file, images=images, labels=labels)
