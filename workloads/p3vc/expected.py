"""How large the noise will be, known before anything is spent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from p3vc.pixelise import Grid
from p3vc.sensitivity import Domain


def expected_error(mechanism: str, scale: float, block: int, domain: Domain) -> dict[str, float]:
    """Return the expected absolute error of a pixel against its noise-free block mean, in grey levels.

    Blocks of b² pixels have noise of scale t = scale/b² on their mean. ``unclamped`` is E|noise| = t. ``clamped`` is
    the error that is left in 0..255, averaged over block means uniform on that range: for ``laplace`` a value v and
    its distance u to a clamp leave t(1 - e^(-u/t)) on that side; ``exponential`` has the truncated density in
    proportion to e^(-|x - v|/t). Continuous approximations of the discrete law; rounding to grey levels adds up to
    0.25. What pixelisation itself loses depends on the data and is not known here.
    """
    grid = Grid(domain.shape[1], domain.shape[2], block)
    sizes, blocks = np.unique(grid.pixels, return_counts=True)
    share = sizes * blocks / (domain.shape[1] * domain.shape[2])
    t = scale / sizes
    clamped = [_clamped(mechanism, float(one)) for one in t]
    return {
        "unclamped": round(float(share @ t), 6),
        "clamped": round(float(share @ np.array(clamped)), 6),
    }


def _clamped(mechanism: str, t: float) -> float:
    low = np.arange(256.0)
    high = 255.0 - low
    if mechanism == "laplace":
        return float(np.mean(-t / 2 * (np.expm1(-low / t) + np.expm1(-high / t))))
    mass = -np.expm1(-low / t) - np.expm1(-high / t)
    return float(np.mean(t * (_moment(low / t) + _moment(high / t)) / mass))


def _moment(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - (1 + x) e^-x, the integral of y e^-y up to x."""
    return -np.expm1(-x) - x * np.exp(-x)
