"""Composition of privacy losses, in decimal arithmetic rounded against the spender."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from functools import cached_property
from typing import Literal

from testbed.gaussian import mu

Composition = Literal["basic", "advanced", "zcdp"]

_UP = Context(prec=40, rounding=ROUND_CEILING)
_SHOWN = Decimal("1e-9")


@dataclass(frozen=True)
class Loss:
    """What one claim costs a record.

    Attributes:
        delta: 0 for a pure-DP release; of Gaussian noise, the probability beside which its epsilon holds.
    """

    epsilon: Decimal
    delta: Decimal = Decimal(0)

    @cached_property
    def square(self) -> Decimal:
        """Twice its rho: epsilon-DP is epsilon^2/2-zCDP (Bun and Steinke 2016, Proposition 1.4), mu-GDP mu^2/2-zCDP."""
        root = Decimal(mu(self.epsilon, self.delta)) if self.delta else self.epsilon
        return _UP.multiply(root, root)


def compose(losses: Iterable[Loss], rule: Composition, delta: Decimal | None = None) -> Decimal:
    """Total epsilon of adaptively chosen claims on the same records.

    Args:
        losses: one for each claim.
        rule: ``basic`` adds the epsilons, which hold beside the sum of the deltas. The others need no
            delta of a claim, for they add what it is in zCDP. ``advanced`` is the fully adaptive filter of Whitehouse,
            Ramdas, Rogers and Wu (ICML 2023, Theorem 1), ``sqrt(2 ln(1/delta) S) + S/2`` with ``S`` the sum of squares;
            ``zcdp`` is the conversion of Bun and Steinke (2016, Proposition 1.3) with ``rho = S/2``, which is the same
            number.
        delta: failure probability of ``advanced`` and ``zcdp``.

    Raises:
        ValueError: when ``rule`` needs a delta and none, or one outside (0, 1), is given.
    """
    spent = list(losses)
    if rule == "basic":
        return total(loss.epsilon for loss in spent)
    if delta is None or not 0 < delta < 1:
        raise ValueError(f"composition {rule} needs a delta between 0 and 1")
    squares = total(loss.square for loss in spent)
    if not squares:
        return Decimal(0)
    # Context.ln rounds to nearest whatever the rounding mode: next_plus makes it an upper bound.
    log = _UP.next_plus(_UP.ln(_UP.divide(Decimal(1), delta)))
    root = _UP.next_plus(_UP.sqrt(_UP.multiply(_UP.multiply(Decimal(2), log), squares)))
    return _UP.add(root, _UP.divide(squares, Decimal(2))).quantize(_SHOWN, rounding=ROUND_CEILING)


def total(values: Iterable[Decimal]) -> Decimal:
    """Sum, rounded up."""
    found = Decimal(0)
    for value in values:
        found = _UP.add(found, value)
    return found


def show(value: Decimal) -> str:
    """A decimal as people write it: no exponent, no trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
