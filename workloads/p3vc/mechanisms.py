"""The release mechanisms: what is added to a batch of images, at which scale, and what it promises.

``laplace``
    Discrete Laplace noise of scale Δ/ε on the block sums, Δ their L1 sensitivity (Dwork, McSherry, Nissim, Smith
    2006, on the
    integers: Ghosh, Roughgarden, Sundararajan 2009). ε-DP.
``exponential``
    The exponential mechanism (McSherry, Talwar 2007) over the possible sums 0..255·pixels of each block with score
    -|sum - v|: P(v) proportional to exp(-ε|sum - v|/(2Δ)), which is discrete Laplace of twice the scale conditioned
    on the range. The factor two pays for the normaliser, which depends on the data. ε-DP, and no value is ever clamped.
``paper``
    The recipe of the kubeFlower paper, kept to reproduce its figures. Its noise scale is the image's own noised
    mean, so its likelihood ratio is unbounded: **no DP claim**, at any epsilon.

All that follows the noise (rounding, clamping, division, enlarging) is post-processing.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from p3vc.errors import BadInputError
from p3vc.keystream import Keystream
from p3vc.pixelise import Grid
from p3vc.sampler import MAX_SCALE, geometric
from p3vc.sensitivity import Domain, Relation, block_sums_l1

NAMES = ("laplace", "exponential", "paper")


class Mechanism(Protocol):
    """A randomised map from images to images of the same shape."""

    name: str
    private: bool  # whether it makes a DP claim
    sensitivity: int  # L1, grey levels on block sums; of the mean in 0..1 for paper
    scale: Fraction  # of the noise, in the same unit

    def release(self, images: NDArray[np.uint8], stream: Keystream) -> NDArray[np.uint8]:
        """Return the noisy images of one batch."""


class Laplace:
    """Discrete Laplace noise on block sums."""

    name = "laplace"
    private = True

    def __init__(self, grid: Grid, sensitivity: int, epsilon: Fraction) -> None:
        self.grid, self.sensitivity, self.scale = grid, sensitivity, sensitivity / epsilon
        self._noise = geometric(_bounded(self.scale))

    def release(self, images: NDArray[np.uint8], stream: Keystream) -> NDArray[np.uint8]:
        """Return pixelised images with noise on every block sum."""
        sums = self.grid.sums(images)
        sums += self._noise.laplace(stream, sums.size).reshape(sums.shape)
        return self.grid.image(sums)


class Exponential:
    """The exponential mechanism on block sums, over the range that a sum can have."""

    name = "exponential"
    private = True

    def __init__(self, grid: Grid, sensitivity: int, epsilon: Fraction) -> None:
        self.grid, self.sensitivity, self.scale = grid, sensitivity, 2 * sensitivity / epsilon
        self._noise = geometric(_bounded(self.scale))

    def release(self, images: NDArray[np.uint8], stream: Keystream) -> NDArray[np.uint8]:
        """Return pixelised images whose block sums were chosen by score."""
        sums = self.grid.sums(images)
        high = np.broadcast_to(255 * self.grid.pixels, sums.shape)
        return self.grid.image(self._noise.truncated(stream, sums.ravel(), high.ravel()).reshape(sums.shape))


class Paper:
    """The kubeFlower paper's pseudo-code, image by image: no DP claim."""

    name = "paper"
    private = False

    def __init__(self, epsilon: Fraction) -> None:
        self.sensitivity, self.scale = 1, 1 / epsilon

    def release(self, images: NDArray[np.uint8], stream: Keystream) -> NDArray[np.uint8]:
        """Return images + Laplace(mean, scale) · randn, clipped."""
        random = np.random.Generator(np.random.PCG64(stream.word()))
        noisy = np.empty(images.shape, np.uint8)
        for i, image in enumerate(images):
            noisy[i] = np.rint(255 * paper_recipe(image / 255, float(self.scale), random))
        return noisy


def paper_recipe(image: NDArray[np.float64], scale: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Noise one image in 0..1 as the paper's ``create_differentially_private_dataset`` does.

    Parra-Ullauri et al., "kubeFlower", FGCS 2024, section 3.3. Not differentially private.
    """
    noise = np.mean(image) + random.laplace(0, scale)
    return np.clip(image + noise * random.standard_normal(image.shape), 0, 1)


def build(name: str, epsilon: Decimal, block: int, neighbourhood: int, domain: Domain) -> Mechanism:
    """Return the mechanism a release asks for, its sensitivity derived from the domain and the relation.

    Raises:
        BadInputError: the block does not fit the images, or epsilon is too small to sample for.
    """
    exact = Fraction(epsilon)
    _, height, width = domain.shape
    if block > max(height, width):
        raise BadInputError(
            f"--block {block}: larger than the images ({height}x{width}); use at most {max(height, width)}"
        )
    if name == "paper":
        return Paper(exact)
    sensitivity = block_sums_l1(Relation(neighbourhood), domain)
    kind = Laplace if name == "laplace" else Exponential
    return kind(Grid(height, width, block), sensitivity, exact)


def _bounded(scale: Fraction) -> Fraction:
    if scale > MAX_SCALE:
        raise BadInputError(
            f"--epsilon: the noise scale would be {float(scale):.3g} grey levels; at most 2**50 is sampled"
        )
    return scale
