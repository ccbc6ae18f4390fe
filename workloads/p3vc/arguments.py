"""Parsers of command-line values; each error names the value and what is allowed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation


def positive(text: str) -> Decimal:
    """Parse an epsilon or a budget, exactly as written."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not (value.is_finite() and 0 < value <= 1000) or value != round(value, 12):
        raise argparse.ArgumentTypeError(f"{text!r} is not a decimal above 0 and at most 1000, with at most 12 places")
    return value


def delta(text: str) -> Decimal:
    """Parse a delta."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not (value.is_finite() and Decimal("1e-30") <= value < 1 and len(value.as_tuple().digits) <= 28):
        raise argparse.ArgumentTypeError(f"{text!r} is not a decimal from 1e-30 to below 1, of at most 28 digits")
    return value


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of integers from ``low`` to ``high``."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low} to {high}")
        return int(text)

    return parse


def number(low: str, high: str) -> Callable[[str], float]:
    """Return a parser of numbers from ``low`` to ``high``, which a message shows as they are written here."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not float(low) <= value <= float(high):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return value

    return parse


def grant(text: str) -> str:
    """Parse the id of a training run."""
    if not re.fullmatch("[0-9a-f]{12}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 12 hexadecimal digits in lower case")
    return text


def shape(text: str) -> tuple[int, int, int]:
    """Parse an image shape."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and 0 < int(part) <= 2**15 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not CxHxW, such as 3x32x32")
    return int(parts[0]), int(parts[1]), int(parts[2])


def range_of(text: str) -> tuple[int, int]:
    """Parse a range of grey levels."""
    low, _, high = text.partition(":")
    if not (low.isdigit() and high.isdigit() and 0 <= int(low) < int(high) <= 255):
        raise argparse.ArgumentTypeError(f"{text!r} is not LOW:HIGH within 0:255")
    return int(low), int(high)


def part(text: str) -> tuple[int, int]:
    """Parse which part of how many."""
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not INDEX/COUNT with an index from 0, such as 0/10")
    return int(index), int(count)


def claim(text: str) -> str:
    """Parse a claim id."""
    if not (0 < len(text) <= 200 and text.isprintable()):
        raise argparse.ArgumentTypeError("a claim id has 1 to 200 printable characters")
    return text
