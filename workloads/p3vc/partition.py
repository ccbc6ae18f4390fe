"""Partitions of a dataset whose records move for no one.

A record's partition is a function of its position, its label (Dirichlet only) and the seed: never of its pixels or
of another record. So neighbours in the sense of ``sensitivity.py`` have the same partitions, which parallel
composition needs, and each client can compute its own without the others.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract import partition
from p3vc.keystream import Keystream


@dataclass(frozen=True)
class Partition(partition.Partition):
    """A part of a dataset, and the records in it.

    A Dirichlet partition is the label skew of Hsu, Qi, Brown 2019, the paper's "LDA" split: a proportion vector over
    the parts is drawn for every label, then each record draws its part.
    """

    @property
    def key(self) -> bytes:
        """The key of the partition's public randomness."""
        return hashlib.sha256(f"p3vc partition {self.seed}".encode()).digest()

    def proportions(self, classes: int) -> NDArray[np.float64]:
        """Return the cumulative proportions of the parts, classes x count."""
        if self.alpha is None:
            shares = np.full((classes, self.count), 1 / self.count)
        else:
            shares = np.stack([self._shares(label, self.alpha) for label in range(classes)])
        return np.cumsum(shares, axis=1)

    def _shares(self, label: int, alpha: float) -> NDArray[np.float64]:
        seed = Keystream(self.key, "proportions", label).word()
        return np.random.Generator(np.random.PCG64(seed)).dirichlet(np.full(self.count, alpha))

    def family(self, classes: int) -> str:
        """Name the split that this is a part of: parts of one family share no record.

        It digests the proportions themselves, so that a change in how they are drawn makes another family.
        """
        state = hashlib.sha256(f"{self.count} {self.partitioner} {self.seed} {classes} ".encode())
        state.update(self.proportions(classes).astype("<f8").tobytes())
        return state.hexdigest()

    def members(self, chunk: int, labels: NDArray[np.int64], cumulative: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which records of a chunk are in this part; labels must be within the label set."""
        draws = Keystream(self.key, "records", chunk).words(labels.size, "<u8") / np.float64(2**64)
        part = np.count_nonzero(draws[:, None] >= cumulative[labels, :-1], axis=1)
        inside: NDArray[np.bool_] = part == self.index
        return inside

    def as_json(self, classes: int) -> dict[str, Any]:
        """Return the form that the ledger and the manifest hold."""
        return {
            "index": self.index,
            "count": self.count,
            "partitioner": self.partitioner,
            "alpha": None if self.alpha is None else repr(self.alpha),
            "seed": self.seed,
            "family": self.family(classes),
        }
