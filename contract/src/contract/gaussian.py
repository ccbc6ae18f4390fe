"""The exact privacy of Gaussian noise, rounded so that a charge is never below what is spent.

Noise on a value that moves by at most mu of its standard deviations, in L2 norm, is (ε, δ)-DP exactly for
δ >= Φ(mu/2 - ε/mu) - e^ε Φ(-mu/2 - ε/mu): Balle, Wang, "Improving the Gaussian Mechanism for Differential Privacy",
ICML 2018, Theorem 8; Dong, Roth, Su, "Gaussian Differential Privacy", JRSS-B 2022, Corollary 1. R adaptive uses are
one with mu √R, and mu²/2 is the rho in zCDP (Bun, Steinke 2016, Proposition 1.6).

Floats lose the difference of the two terms where δ is small, so it is taken in 100 digits.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from functools import lru_cache
from typing import Any

import mpmath

# A claim's delta: from where no budget tells it from zero to where it promises next to nothing.
LEAST_DELTA, MOST_DELTA = Decimal("1e-30"), Decimal("0.5")

_SHIFT = 2  # clipping norms that a clipped update moves by at most: from one end of the ball to the other
_MP = mpmath.MPContext()  # of our own: the precision of mpmath's global one is whatever its users left it at
_MP.dps = 100
_HALVINGS = 120
_DIGITS = 50  # of mu and epsilon, before the figures below are rounded to fewer
_CACHED = 4096  # a testbed's clients share few prices


def delta(mu: Decimal, epsilon: Decimal) -> Decimal:
    """Return the least δ for which Gaussian noise of ratio ``mu`` is (ε, δ)-DP, to 50 digits."""
    return _decimal(_delta(_number(mu), _number(epsilon)), ROUND_CEILING)


@lru_cache(maxsize=_CACHED)
def rho(epsilon: Decimal, delta: Decimal) -> Decimal:
    """Return the rho, in zCDP, of the least noise that is (ε, δ)-DP; rounded up to 12 digits.

    Args:
        epsilon: above 0.
        delta: in (0, 1).
    """
    _, high = _mu(epsilon, delta)
    mu = _decimal(high, ROUND_CEILING)
    up = Context(prec=_DIGITS, rounding=ROUND_CEILING)
    return Context(prec=12, rounding=ROUND_CEILING).divide(up.multiply(mu, mu), 2)


@lru_cache(maxsize=_CACHED)
def epsilon(mu: Decimal, delta: Decimal) -> Decimal:
    """Return the least ε for which Gaussian noise of ratio ``mu`` is (ε, δ)-DP; rounded up to 12 decimals.

    Args:
        mu: above 0: what the value moves by, in standard deviations of the noise.
        delta: in (0, 1).
    """
    m, d = _number(mu), _number(delta)
    low, high = _MP.mpf(0), _MP.mpf(1)
    if _delta(m, low) <= d:
        return Decimal(0)
    while _delta(m, high) > d:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _delta(m, middle) <= d else (middle, high)
    return _decimal(high, ROUND_CEILING).quantize(Decimal("1e-12"), rounding=ROUND_CEILING)


def noise_multiplier(epsilon: Decimal, delta: Decimal, rounds: int) -> float:
    """Return the noise, in clipping norms, with which ``rounds`` rounds of training are (ε, δ)-DP for a client's data.

    The mean over n equally weighted updates, each clipped to norm C, moves by at most 2C/n when one client's data is
    replaced, one record or all of them; noise of standard deviation zC/n on it has mu = 2/z. Rounded up to 6 digits.
    """
    low, _ = _mu(epsilon, delta)
    up = Context(prec=_DIGITS, rounding=ROUND_CEILING)
    shift = _SHIFT * up.next_plus(up.sqrt(Decimal(rounds)))
    return float(Context(prec=6, rounding=ROUND_CEILING).divide(shift, _decimal(low, ROUND_FLOOR)))


@lru_cache(maxsize=_CACHED)
def _mu(epsilon: Decimal, delta: Decimal) -> tuple[Any, Any]:
    """Return the largest mu that is (ε, δ)-DP, as a bracket: the curve grows with mu."""
    e, d = _number(epsilon), _number(delta)
    low = high = _MP.mpf(1)
    while _delta(high, e) <= d:
        high *= 2
    while _delta(low, e) > d:
        low /= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _delta(middle, e) <= d else (low, middle)
    return low, high


def _delta(mu: Any, epsilon: Any) -> Any:
    return _MP.ncdf(mu / 2 - epsilon / mu) - _MP.exp(epsilon) * _MP.ncdf(-mu / 2 - epsilon / mu)


def _number(value: Decimal) -> Any:
    return _MP.mpf(str(value))


def _decimal(value: Any, rounding: str) -> Decimal:
    return Context(prec=_DIGITS, rounding=rounding).create_decimal(_MP.nstr(value, 80))
