"""The name of a part of a dataset: the same in a plan, in an argv, in a ledger and in a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, get_args

Partitioner = Literal["iid", "dirichlet"]
PARTITIONERS: tuple[Partitioner, ...] = get_args(Partitioner)
ALPHA = 0.5  # of a Dirichlet partition that names none
SEED = 0  # of a partition that names none


@dataclass(frozen=True)
class Partition:
    """Part ``index`` of ``count``: uniform (``iid``), or with Dirichlet(alpha) proportions per label.

    Attributes:
        index: from 0.
        count: of parts.
        partitioner: how records are dealt to parts.
        alpha: concentration of a Dirichlet partition; None for ``iid``, where it means nothing.
        seed: of the partition's public randomness.
    """

    index: int
    count: int
    partitioner: Partitioner
    alpha: float | None
    seed: int

    def __post_init__(self) -> None:
        if (self.alpha is None) != (self.partitioner == "iid"):
            raise ValueError(f"partitioner {self.partitioner} with alpha {self.alpha}")

    @property
    def scheme(self) -> str:
        """Everything that decides who gets which record of a dataset: parts of one scheme share none."""
        alpha = "" if self.alpha is None else f", alpha {self.alpha!r}"
        return f"{self.partitioner} of {self.count}{alpha}, seed {self.seed}"

    @property
    def name(self) -> str:
        """``SCHEME:INDEX``."""
        return f"{self.scheme}:{self.index}"

    @property
    def by_labels(self) -> bool:
        """Whether a record's part depends on its label."""
        return self.partitioner == "dirichlet"

    @classmethod
    def of(cls, index: int, count: int, partitioner: Partitioner, alpha: float | None, seed: int | None) -> Self:
        """Return the part that these say, with what means nothing left out and what is not said at its default."""
        concentration = None if partitioner == "iid" else ALPHA if alpha is None else float(alpha)
        return cls(index, count, partitioner, concentration, SEED if seed is None else seed)
