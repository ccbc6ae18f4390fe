"""The client's private volume: what a P3-VC release left there, split into a training and a test part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.files import MANIFEST
from federation.errors import DataError

IMAGES = "images.npy"
LABELS = "labels.npy"


@dataclass(frozen=True)
class Release:
    """A released dataset.

    Attributes:
        images: uint8, NxCxHxW, memory-mapped read-only.
        labels: integers, N.
        epsilon: decimal string of all the release spent.
        mechanism: how it was released.
        manifest: SHA-256 of the manifest file, hexadecimal.
        dataset: the ledger's name of the raw dataset; None where no ledger was charged.
        partition: the part of it, as the ledger holds it; None for all of it.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    epsilon: str
    mechanism: str
    manifest: str
    dataset: str | None = None
    partition: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Split:
    """Row numbers of the two parts, each in a seeded order."""

    train: npt.NDArray[np.intp]
    test: npt.NDArray[np.intp]


def load(folder: Path, num_classes: int) -> Release:
    """Open a released dataset without copying its images.

    Args:
        folder: what ``p3vc release`` writes: ``manifest.json``, last, so that its presence means a complete release,
            ``images.npy`` and ``labels.npy``. ``p3vc verify`` checks their digests once, before the client starts.
        num_classes: labels must be below it.

    Raises:
        DataError: the release is absent, incomplete, or not what its manifest says.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: not found: the private volume holds no complete release; wait for the P3-VC job of this client"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    manifest = _manifest(path, text)
    images = _array(folder / IMAGES)
    labels = _array(folder / LABELS)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"{folder / IMAGES}: {images.dtype} {images.shape}: expected uint8 images NxCxHxW")
    if images.shape[1] not in (1, 3):
        raise DataError(f"{folder / IMAGES}: {images.shape[1]} channels: the model takes 1 or 3")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{folder / LABELS}: {labels.dtype} {labels.shape}: expected one integer for each image")
    for name, array in (("images", images), ("labels", labels)):
        said = manifest["arrays"].get(name, {}).get("shape")
        if said != list(array.shape):
            raise DataError(f"{path}: says {name} have shape {said}, {name}.npy has {list(array.shape)}; release again")
    if len(images) < 2:
        raise DataError(f"{folder / IMAGES}: {len(images)} records: at least 2 are needed to train and to test")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise DataError(f"{folder / LABELS}: labels {low} to {high}: num-classes is {num_classes}")
    return Release(
        images=images,
        labels=labels.astype(np.int64),
        epsilon=str(manifest["epsilon"]),
        mechanism=str(manifest["mechanism"]),
        manifest=hashlib.sha256(text).hexdigest(),
        dataset=manifest.get("dataset"),
        partition=manifest.get("partition"),
    )


def _manifest(path: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
    except ValueError:
        raise DataError(f"{path}: not JSON: the release is damaged; release again") from None
    missing = [
        key for key in ("arrays", "epsilon", "mechanism") if not isinstance(manifest, dict) or key not in manifest
    ]
    if missing or not isinstance(manifest["arrays"], dict):
        raise DataError(f"{path}: lacks {', '.join(missing) or 'arrays'}: not the manifest of a P3-VC release")
    return dict(manifest)


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise DataError(f"{path}: not found, although the manifest is complete; release again") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a NumPy array: {error}") from None


def split(records: int, train_fraction: float, seed: int) -> Split:
    """Cut ``records`` rows into a training and a test part, at least one row each.

    The split is drawn on the client from the released rows, so it is post-processing and costs no epsilon.
    """
    order = np.random.default_rng(seed).permutation(records)
    cut = min(max(round(records * train_fraction), 1), records - 1)
    return Split(train=order[:cut], test=order[cut:])
