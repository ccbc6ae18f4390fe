"""Sensitivity, derived from what was declared and never typed in.

Unit of privacy and relation. Two datasets are neighbours when they have the same size and order and differ in one
record, whose two images differ in at most m pixels (replace-one; DP-Pix's m-neighbourhood, Fan 2018, Definition 2).
A pixel is all its
channels: each may change. With private labels the record's label may change as well, to any label. Size, order, shape,
range and label set are public, so add/remove neighbours are out of scope. A feature of k·m pixels is protected at k
times epsilon (group privacy).

Derivation. A pixel lies in exactly one block, so changing it moves one block sum in each of the C channels, by at most
high - low. Over m pixels the vector of all block sums moves by at most (high - low)·m·C in L1, whatever the block and
wherever the pixels lie, in whole blocks or in the smaller ones at an edge; an image has no more than H·W pixels to
change. The bound is met: m black pixels turn white. For block means of b² pixels this is Fan's 255·m/b² a channel
(Theorem 1), times C.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Domain:
    """The public domain of one image: C x H x W integers in low..high."""

    shape: tuple[int, int, int]
    low: int = 0
    high: int = 255


@dataclass(frozen=True)
class Relation:
    """Replace one record by another that differs in at most ``pixels`` pixels."""

    pixels: int

    def describe(self, *, private_labels: bool) -> str:
        """Say what is protected, for the manifest."""
        label = "and in the label" if private_labels else "under the same public label"
        return f"replace one record by one that differs in at most {self.pixels} pixels (all channels) {label}"


def block_sums_l1(relation: Relation, domain: Domain) -> int:
    """Return the L1 sensitivity of the vector of all block sums of one record, in grey levels."""
    channels, height, width = domain.shape
    return (domain.high - domain.low) * min(relation.pixels, height * width) * channels
