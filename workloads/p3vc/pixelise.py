"""Pixelisation: an image becomes the integer sums of its square blocks, and sums become an image again.

Fan, "Image Pixelization with Differential Privacy", DBSec 2018 (DP-Pix) releases block means. Sums carry the same
information as integers, so that noise on them can be integer too; dividing by the number of pixels comes after the
noise and is post-processing. A side that is no multiple of the block ends in smaller blocks, which change nothing in
the sensitivity of the sums (``sensitivity.py``) and have a larger error after division.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """The blocks of images of ``height`` x ``width`` pixels, ``block`` pixels a side."""

    height: int
    width: int
    block: int

    @property
    def rows(self) -> int:
        """Number of blocks along the height."""
        return -(-self.height // self.block)

    @property
    def columns(self) -> int:
        """Number of blocks along the width."""
        return -(-self.width // self.block)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Number of pixels of each block, rows x columns."""
        tall = np.minimum(self.block, self.height - self.block * np.arange(self.rows))
        wide = np.minimum(self.block, self.width - self.block * np.arange(self.columns))
        return np.outer(tall, wide).astype(np.int64)

    def sums(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the block sums, n x C x rows x columns, of images n x C x height x width."""
        count, channels = images.shape[:2]
        # The narrowest type that holds a block of white keeps the additions in cache and vectorised.
        wide = np.uint16 if 255 * self.block**2 < 2**16 else np.int64
        strips = np.zeros((count, channels, self.rows, self.width), wide)
        for i in range(min(self.block, self.height)):
            row = images[:, :, i :: self.block]
            strips[:, :, : row.shape[2]] += row
        sums = np.zeros((count, channels, self.rows, self.columns), wide)
        for j in range(min(self.block, self.width)):
            column = strips[..., j :: self.block]
            sums[..., : column.shape[3]] += column
        return sums.astype(np.int64)

    def image(self, sums: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return full-size images whose blocks have the rounded mean that the sums say, clamped to 0..255."""
        pixels = self.pixels
        even = pixels if pixels.min() < pixels.max() else pixels[0, 0]  # NumPy divides by one number much faster
        cells = ((np.clip(sums, 0, 255 * even) + even // 2) // even).astype(np.uint8)
        strips = np.repeat(cells, self.block, axis=3)[..., : self.width]
        return np.repeat(strips, self.block, axis=2)[:, :, : self.height]
