"""Data invariance filtering: what is declared public, checked on the way in and held on the way out.

The invariants are facts about a dataset that its release does not hide. A record that violates them lies outside the
domain that the sensitivity is derived for, so it is never released: the run refuses, or leaves it out and publishes
how many. The neighbouring relation ranges over records that keep the invariants, so which records are left out is
public too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p3vc.errors import BadInputError
from p3vc.sensitivity import Domain


@dataclass(frozen=True)
class Invariants:
    """The public facts: record count, image shape and range, and the label set 0..classes-1."""

    records: int
    shape: tuple[int, int, int]
    classes: int
    low: int = 0
    high: int = 255

    @property
    def domain(self) -> Domain:
        """The domain of one image."""
        return Domain(self.shape, self.low, self.high)

    def as_json(self) -> dict[str, Any]:
        """Return the form that the ledger and the manifest hold."""
        return {
            "records": self.records,
            "shape": list(self.shape),
            "dtype": "uint8",
            "range": [self.low, self.high],
            "classes": self.classes,
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Invariants:
        """Read what ``as_json`` wrote."""
        channels, height, width = value["shape"]
        low, high = value["range"]
        return Invariants(value["records"], (channels, height, width), value["classes"], low, high)


@dataclass
class Violations:
    """How many records broke which invariant."""

    shape: int = 0
    range: int = 0
    label: int = 0
    records: int = field(default=0, metadata={"doc": "records that broke at least one"})

    def add(self, other: Violations) -> None:
        """Count another batch's."""
        self.shape += other.shape
        self.range += other.range
        self.label += other.label
        self.records += other.records

    def as_json(self) -> dict[str, int]:
        """Return the counts by invariant."""
        return {"shape": self.shape, "range": self.range, "label": self.label, "records": self.records}

    def refuse(self) -> None:
        """Raise when anything was counted.

        Raises:
            BadInputError: with the counts and what to do.
        """
        if self.records:
            counts = ", ".join(f"{key} {n}" for key, n in self.as_json().items() if n and key != "records")
            raise BadInputError(
                f"{self.records} records violate the declared invariants ({counts}); "
                "repair them, declare what is true, or register with --on-violation drop to leave them out"
            )


def check(
    invariants: Invariants, images: NDArray[np.uint8], labels: NDArray[np.int64], malformed: NDArray[np.bool_] | None
) -> tuple[NDArray[np.bool_], Violations]:
    """Return which records keep the invariants, and the count of those that do not.

    Args:
        invariants: what was declared.
        images: n x C x H x W.
        labels: n.
        malformed: records whose image had another shape, where the format allows one.
    """
    shape = np.zeros(labels.shape, np.bool_) if malformed is None else malformed
    values = np.zeros(labels.shape, np.bool_)
    if (invariants.low, invariants.high) != (0, 255) and labels.size:  # any uint8 is within 0..255
        flat = images.reshape(labels.size, -1)
        values = ((flat.min(axis=1) < invariants.low) | (flat.max(axis=1) > invariants.high)) & ~shape
    label = (labels < 0) | (labels >= invariants.classes)
    broken = shape | values | label
    return ~broken, Violations(int(shape.sum()), int(values.sum()), int(label.sum()), int(broken.sum()))
