"""Exact, vectorised sampling of discrete Laplace noise and of its relatives.

The noise is integer and its law is exact: no float takes part in a draw, so the attack on the low bits of
floating-point Laplace noise (Mironov, CCS 2012) has nothing to hold on to. OpenDP samples the same law exactly one
value at a time (Canonne, Kamath, Steinke, NeurIPS 2020, Algorithm 2); this sampler draws whole arrays, and the tests
show the two equal in distribution.

How: let G be geometric, P(G = k) = (1 - r) r^k with r = exp(-1/scale). Written in radix R, the digits of G are
independent, and the digit of weight w has P(digit = d) proportional to r^(w d) on 0..R-1; the leading digit is taken
unbounded, which makes the sum exactly geometric. Each digit is drawn by inversion: a uniform real U is compared with
the cumulative probabilities B_j. Sixteen bits of U decide nearly always, through a table; otherwise 64 bits are
compared with floor(2^64 B_j); and while they are equal, 64 more bits are compared with a longer expansion of B_j,
which ends because B_j is irrational (Lindemann-Weierstrass). So U is never rounded: the law is exact, whatever the
table's size.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from p3vc.keystream import Keystream

MAX_SCALE = 2**50  # keeps every draw within int64 with room to spare
_PREFIX = 16
_DIGIT_BITS = 11  # 2048 boundaries leave 3 % of the 16-bit prefixes undecided


class _Digit:
    """One digit: P(d) proportional to exp(-rate d) on 0..radix-1, or on all of 0, 1, … when unbounded."""

    def __init__(self, rate: Fraction, radix: int, *, unbounded: bool) -> None:
        self.rate, self.radix, self.unbounded = rate, radix, unbounded
        last = radix if unbounded else radix - 1
        self._floors = np.array([self.boundary(j, 64) for j in range(1, last + 1)], np.uint64)
        prefixes = (self._floors >> np.uint64(64 - _PREFIX)).astype(np.int64)
        count = np.bincount(prefixes, minlength=1 << _PREFIX)
        below = np.cumsum(count) - count
        undecided = (count > 0) | (below == radix)
        self._table = np.where(undecided, -1, below).astype(np.int16)

    def boundary(self, j: int, bits: int) -> int:
        """Return floor(2**bits * P(digit < j)), from interval arithmetic made finer until it is unambiguous."""
        precision = 30 + bits // 3
        while True:
            context = Context(prec=precision)
            value = self._below(j, context)
            error = Decimal(10) ** (6 - precision)
            if not self.unbounded:
                whole = self._below(self.radix, context)
                value = context.divide(value, whole)
                error = error.scaleb(1 - whole.adjusted())
            wide = Context(prec=precision + bits)
            bounds = wide.subtract(value, error), wide.add(value, error)
            low, high = (math.floor(wide.multiply(Decimal(2**bits), bound)) for bound in bounds)
            if low == high:
                return low
            precision *= 2

    def _below(self, j: int, context: Context) -> Decimal:
        """Return 1 - exp(-rate j); its absolute error is below 10**(2 - precision)."""
        exponent = context.divide(Decimal(-self.rate.numerator * j), Decimal(self.rate.denominator))
        return context.subtract(Decimal(1), context.exp(exponent))

    def draw(self, stream: Keystream, count: int) -> NDArray[np.int64]:
        """Draw ``count`` digits."""
        prefix = stream.words(count, "<u2")
        digits = self._table.take(prefix).astype(np.int64)
        undecided = np.flatnonzero(digits < 0)
        if undecided.size:
            digits[undecided] = self._decide(prefix[undecided], stream)
        return digits

    def _decide(self, prefix: NDArray[np.uint16], stream: Keystream) -> NDArray[np.int64]:
        word = (prefix.astype(np.uint64) << np.uint64(48)) | (stream.words(prefix.size, "<u8") >> np.uint64(16))
        digits = np.searchsorted(self._floors, word, side="left").astype(np.int64)
        tied = self._floors[np.minimum(digits, self._floors.size - 1)] == word
        for i in np.flatnonzero(tied):
            digits[i] = self._untie(int(word[i]), stream)
        if self.unbounded:
            beyond = np.flatnonzero(digits == self.radix)
            if beyond.size:  # the geometric law has no memory: given d >= radix, d - radix is a fresh draw
                digits[beyond] += self.draw(stream, beyond.size)
        return digits

    def _untie(self, word: int, stream: Keystream) -> int:
        first, last = (int(np.searchsorted(self._floors, np.uint64(word), side)) for side in ("left", "right"))
        bits = 64
        while True:
            word, bits = (word << 64) | stream.word(), bits + 64
            floors = [self.boundary(j, bits) for j in range(first + 1, last + 1)]
            if word not in floors:
                return first + sum(floor < word for floor in floors)


class Geometric:
    """P(G = k) = (1 - r) r^k for k = 0, 1, … with r = exp(-1/scale).

    Args:
        scale: exact and positive, at most 2**50.

    Raises:
        ValueError: the scale is out of range.
    """

    def __init__(self, scale: Fraction) -> None:
        if not 0 < scale <= MAX_SCALE:
            raise ValueError(f"noise scale {float(scale):.3g} is not in (0, 2**50]")
        self.scale = scale
        total = max(1, math.ceil(32 * scale).bit_length())  # beyond 2**total: once in exp(32) draws
        count = -(-total // _DIGIT_BITS)
        self._shift = -(-total // count)
        self._digits = [
            _Digit((1 << (self._shift * i)) / scale, 1 << self._shift, unbounded=i == count - 1) for i in range(count)
        ]

    def draw(self, stream: Keystream, count: int) -> NDArray[np.int64]:
        """Draw ``count`` values."""
        value = self._digits[-1].draw(stream, count)
        for digit in reversed(self._digits[:-1]):
            value <<= self._shift
            value += digit.draw(stream, count)
        return value

    def laplace(self, stream: Keystream, count: int) -> NDArray[np.int64]:
        """Draw discrete Laplace values: P(X = x) = (1 - r)/(1 + r) r^|x|; a fair sign, with minus zero drawn again."""
        sign = stream.bits(count).astype(np.int64)
        value = self.draw(stream, count)
        again = np.flatnonzero((value == 0) & (sign == 1))
        value = (value ^ -sign) + sign
        if again.size:
            value[again] = self.laplace(stream, again.size)
        return value

    def truncated(self, stream: Keystream, centre: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw V in 0..high with P(V = v) proportional to r^|centre - v|, exactly, by rejection.

        A wide law proposes a uniform value and accepts with probability r^|centre - v| = P(G >= |centre - v|); a
        narrow one proposes Laplace noise and accepts what is in range. Either way a few proposals are enough,
        whatever the scale.
        """
        wide = 2 * self.scale > int(high.max(initial=0))
        result = np.empty(centre.shape, np.int64)
        pending = np.arange(centre.size)
        while pending.size:
            middle, top = centre[pending], high[pending]
            if wide:
                value = stream.integers(top)
                accepted = self.draw(stream, pending.size) >= np.abs(value - middle)
            else:
                value = middle + self.laplace(stream, pending.size)
                accepted = (value >= 0) & (value <= top)
            result[pending[accepted]] = value[accepted]
            pending = pending[~accepted]
        return result


@lru_cache(maxsize=8)
def geometric(scale: Fraction) -> Geometric:
    """Return the sampler of a scale, its tables built once."""
    return Geometric(scale)


def randomised_response(
    stream: Keystream, labels: NDArray[np.int64], classes: int, epsilon: Fraction
) -> NDArray[np.int64]:
    """Return each label kept with probability e^ε/(e^ε + k - 1), else replaced by a uniform other one.

    k-ary randomised response (Kairouz, Oh, Viswanath 2014) is the exponential mechanism with score 1[v = label]. Drawn
    exactly: propose a uniform label, accept the true one always and another with probability e^-ε.
    """
    result = np.empty(labels.shape, np.int64)
    pending = np.arange(labels.size)
    coin = geometric(1 / epsilon)
    while pending.size:
        value = stream.integers(np.full(pending.size, classes - 1, np.int64))
        accepted = (value == labels[pending]) | (coin.draw(stream, pending.size) >= 1)
        result[pending[accepted]] = value[accepted]
        pending = pending[~accepted]
    return result
