"""The privacy curve of the Gaussian mechanism, bounded so that no cost is ever too low."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache

# A claim's delta: from the P3-VC's own lower limit to where it promises next to nothing.
LEAST_DELTA, MOST_DELTA = Decimal("1e-30"), Decimal("0.5")

# Far above what rounding costs each term: x, y and their squares are within 1e-13 of the true ones, relatively.
_SLACK = 1e-12
_ASYMPTOTIC = 25.0  # from here on exp(t^2 / 2) nears its largest double, and the bound below is tight to 1e-8
_STEPS = 60


@lru_cache(maxsize=1024)
def mu(epsilon: Decimal, delta: Decimal) -> float:
    """Return the largest mu for which mu-Gaussian DP gives (epsilon, delta)-DP, rounded up.

    It is mu-Gaussian DP to add Gaussian noise of standard deviation Delta / mu to a query of L2 sensitivity Delta; it
    is mu^2/2-zCDP (Bun and Steinke 2016, Proposition 1.6). It gives (epsilon, delta)-DP exactly where
    ``Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu) <= delta`` (Balle and Wang 2018, Theorem 8; Dong, Roth
    and Su 2022, Corollary 1), and the left side grows with mu.

    Args:
        epsilon: above 0 and at most 1000.
        delta: from 1e-30 to 0.5. No Gaussian mechanism has delta 0.

    Raises:
        ValueError: outside these ranges.
    """
    if not (0 < epsilon <= 1000 and LEAST_DELTA <= delta <= MOST_DELTA):
        ranges = f"epsilon is above 0 and at most 1000, delta from {LEAST_DELTA} to {MOST_DELTA}"
        raise ValueError(f"no Gaussian noise for ({epsilon}, {delta})-DP: {ranges}")
    # Against the spender: at a larger epsilon the curve is lower, and it has to pass a larger delta.
    at, allowed = math.nextafter(float(epsilon), math.inf), math.nextafter(float(delta), math.inf)
    high = 1.0
    while _least(at, high) <= allowed:
        high *= 2
    low = high / 2
    while _least(at, low) > allowed:
        low /= 2
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if _least(at, middle) > allowed else (middle, high)
    return high  # the curve is known to be above delta here


def _least(epsilon: float, mu: float) -> float:
    """Return a lower bound of the curve, with e^epsilon phi(y) = phi(x) so that nothing overflows."""
    x, y = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    first = math.erfc(x / math.sqrt(2)) / 2
    second = math.exp(-x * x / 2) / math.sqrt(2 * math.pi) * _mills(y)
    return first * (1 - _SLACK) - second * (1 + _SLACK)


def _mills(t: float) -> float:
    """Return Mills' ratio Phi(-t) / phi(t) for t > 0, or slightly more (Sampford 1953)."""
    if t < _ASYMPTOTIC:
        return math.sqrt(math.pi / 2) * math.exp(t * t / 2) * math.erfc(t / math.sqrt(2))
    return 4 / (3 * t + math.sqrt(t * t + 8))
