"""Decimals as they are written and added."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

INFINITE = Decimal("Infinity")
UNBOUNDED = "unbounded"
UP = Context(prec=60, rounding=ROUND_CEILING)
DOWN = Context(prec=60, rounding=ROUND_FLOOR)


def plain(value: Decimal) -> str:
    """Write a decimal without exponent or trailing zeros; equal ones are written alike."""
    return format(value.normalize(), "f") if value.is_finite() else UNBOUNDED


def total(values: Iterable[Decimal]) -> Decimal:
    """Sum, rounded up."""
    found = Decimal(0)
    for value in values:
        found = UP.add(found, value)
    return found


def root_up(value: Decimal) -> Decimal:
    """Square root, rounded up: ``Context.sqrt`` rounds to nearest whatever the rounding mode."""
    return UP.next_plus(UP.sqrt(value)) if value else value
