"""The digest of a dataset's content: its records in order, wherever and however they are packed.

The ledger is keyed on it, so copying or re-compressing a dataset, or renaming an archive, resets no budget. A dataset
with a record changed or in another place is another dataset, and its owner's registration of it is a new decision.
Names matter where they order the records: renaming images or classes of a folder, or CIFAR-10's batches, may reorder
them.
"""

from __future__ import annotations

import hashlib

import numpy as np

from p3vc.formats import Batch, Shape

_BATCH_BYTES = 1 << 20


def batch_records(shape: Shape) -> int:
    """Return how many records make a batch: about a megabyte, so that a batch stays in a core's cache.

    It depends on the shape alone, because the digest and the noise are laid out by batch.
    """
    return max(1, min(4096, _BATCH_BYTES // int(np.prod(shape))))


def leaf(batch: Batch) -> bytes:
    """Return the digest of one batch."""
    state = hashlib.sha256(np.ascontiguousarray(batch.images).data)
    state.update(batch.labels.astype("<i8").tobytes())
    if batch.malformed is not None and batch.malformed.any():
        state.update(np.packbits(batch.malformed).tobytes())
    return state.digest()


class DatasetDigest:
    """Collects the leaves of a dataset in order."""

    def __init__(self, records: int, shape: Shape) -> None:
        self._state = hashlib.sha256(f"p3vc dataset 1: {records} {shape}\n".encode())

    def add(self, digest: bytes) -> None:
        """Take the next batch's leaf."""
        self._state.update(digest)

    def result(self) -> bytes:
        """Return the digest. It is a function of the raw data alone, so only its keyed form leaves the process."""
        return self._state.digest()
