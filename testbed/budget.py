"""Composition of privacy losses, in decimal arithmetic rounded against the spender."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, Context, Decimal
from typing import Literal

Composition = Literal["basic", "advanced", "zcdp"]

_UP = Context(prec=40, rounding=ROUND_CEILING)
_SHOWN = Decimal("1e-9")


def compose(epsilons: Iterable[Decimal], rule: Composition, delta: Decimal | None = None) -> Decimal:
    """Total epsilon of adaptively chosen pure-DP releases of the same records.

    Args:
        epsilons: one for each release.
        rule: ``basic`` adds them. ``advanced`` is the fully adaptive filter of Whitehouse, Ramdas, Rogers and Wu
            (ICML 2023, Theorem 1), ``sqrt(2 ln(1/delta) S) + S/2`` with ``S`` the sum of squares; ``zcdp`` is the
            conversion of Bun and Steinke (2016, Proposition 1.3) with ``rho = S/2``, which is the same number.
        delta: failure probability of ``advanced`` and ``zcdp``.

    Raises:
        ValueError: when ``rule`` needs a delta and none, or one outside (0, 1), is given.
    """
    spent = list(epsilons)
    if rule == "basic":
        total = Decimal(0)
        for epsilon in spent:
            total = _UP.add(total, epsilon)
        return total
    if delta is None or not 0 < delta < 1:
        raise ValueError(f"composition {rule} needs a delta between 0 and 1")
    squares = Decimal(0)
    for epsilon in spent:
        squares = _UP.add(squares, _UP.multiply(epsilon, epsilon))
    if not squares:
        return Decimal(0)
    # Context.ln rounds to nearest whatever the rounding mode: next_plus makes it an upper bound.
    log = _UP.next_plus(_UP.ln(_UP.divide(Decimal(1), delta)))
    root = _UP.next_plus(_UP.sqrt(_UP.multiply(_UP.multiply(Decimal(2), log), squares)))
    return _UP.add(root, _UP.divide(squares, Decimal(2))).quantize(_SHOWN, rounding=ROUND_CEILING)


def show(value: Decimal) -> str:
    """A decimal as people write it: no exponent, no trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
