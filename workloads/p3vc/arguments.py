"""Parsers of command-line values; each error names the value and what is allowed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation


def _decimal(text: str) -> Decimal:
    """Return a number exactly as written, or NaN: also for 1_0 and the digits of other scripts, which Python reads."""
    try:
        return Decimal(text if text.isascii() and "_" not in text else "NaN")
    except InvalidOperation:
        return Decimal("NaN")


def _integer(text: str) -> int:
    """Return an integer of up to 20 digits; -1, which is allowed nowhere, for anything else."""
    return int(text) if re.fullmatch("[0-9]{1,20}", text) else -1


def positive(text: str) -> Decimal:
    """Parse an epsilon or a budget, exactly as written."""
    value = _decimal(text)
    if not (value.is_finite() and 0 < value <= 1000) or value != round(value, 12):
        raise argparse.ArgumentTypeError(f"{text!r} is not a decimal above 0 and at most 1000, with at most 12 places")
    return value


def delta(text: str) -> Decimal:
    """Parse a delta; equal ones come out as equal text."""
    value = _decimal(text)
    if not (value.is_finite() and Decimal("1e-30") <= value < 1 and len(value.as_tuple().digits) <= 28):
        raise argparse.ArgumentTypeError(f"{text!r} is not a decimal from 1e-30 to below 1, of at most 28 digits")
    return value.normalize()


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of integers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        value = _integer(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low} to {high}")
        return value

    return parse


def number(low: str, high: str) -> Callable[[str], float]:
    """Return a parser of numbers from ``low`` to ``high``, which a message shows as they are written here."""

    def parse(text: str) -> float:
        value = _decimal(text)
        if not (value.is_finite() and Decimal(low) <= value <= Decimal(high)):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return float(value)

    return parse


def grant(text: str) -> str:
    """Parse the id of a training run."""
    if not re.fullmatch("[0-9a-f]{12}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 12 hexadecimal digits in lower case")
    return text


def shape(text: str) -> tuple[int, int, int]:
    """Parse an image shape."""
    sizes = [_integer(part) for part in text.lower().split("x")]
    if len(sizes) != 3 or not all(0 < size <= 2**15 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is not CxHxW, such as 3x32x32")
    return sizes[0], sizes[1], sizes[2]


def range_of(text: str) -> tuple[int, int]:
    """Parse a range of grey levels."""
    first, _, last = text.partition(":")
    low, high = _integer(first), _integer(last)
    if not 0 <= low < high <= 255:
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW:HIGH within 0:255")
    return low, high


def part(text: str) -> tuple[int, int]:
    """Parse which part of how many."""
    which, _, of = text.partition("/")
    index, count = _integer(which), _integer(of)
    if not 0 <= index < count <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not INDEX/COUNT with an index from 0, such as 0/10")
    return index, count


def assertion(text: str) -> str:
    """Parse an assertion, which is recorded in its author's words."""
    if not text.strip():
        raise argparse.ArgumentTypeError("says nothing; say why no person has records in two parts")
    return text


def words(text: str) -> str:
    """Parse who decided something, or why, which is recorded as it is."""
    if not (3 <= len(text.strip()) <= 500 and text.isprintable()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 3 to 500 printable characters; say it for those who ask later"
        )
    return text.strip()


def claim(text: str) -> str:
    """Parse a claim id."""
    if not (0 < len(text) <= 200 and text.isprintable()):
        raise argparse.ArgumentTypeError("a claim id has 1 to 200 printable characters")
    return text
