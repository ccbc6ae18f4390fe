from __future__ import annotations

import math
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from p3vc.keystream import Keystream
from p3vc.sampler import MAX_SCALE, Geometric, _Digit, geometric, randomised_response
from tests.p3vc.support import SEED

DRAWS = 200_000
ALPHA = 1e-4  # the seeds are fixed, so a pass is a pass for ever


def stream(index: int) -> Keystream:
    return Keystream(SEED, "test", index)


def chi_square(values: Any, weights: Any) -> float:
    """P-value of counts of 0..k-1 against weights, with thin cells merged into the last."""
    expected = np.asarray(weights, float) / np.sum(weights) * len(values)
    observed = np.bincount(np.minimum(values, len(expected) - 1), minlength=len(expected)).astype(float)
    thick = expected >= 10
    expected = np.append(expected[thick], expected[~thick].sum() + 1e-9)
    observed = np.append(observed[thick], observed[~thick].sum() + 1e-9)
    return float(stats.chisquare(observed, expected).pvalue)


@pytest.mark.parametrize("scale", [Fraction(1, 5), Fraction(1), Fraction(7, 3), Fraction(40), Fraction(3000, 7)])
def test_the_geometric_law_is_the_declared_one(scale: Fraction) -> None:
    draws = Geometric(scale).draw(stream(1), DRAWS)
    size = max(4, int(12 * scale))
    r = math.exp(-1 / scale)
    weights = [(1 - r) * r**k for k in range(size)] + [r**size]
    assert chi_square(draws, weights) > ALPHA


@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(5, 2), Fraction(17486)])
def test_laplace_noise_is_opendps_in_distribution(scale: Fraction) -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    theirs = np.array(dp.m.make_laplace(*space, scale=float(scale))([0] * 40_000))
    ours = geometric(scale).laplace(stream(2), 40_000)
    if scale < 10:
        both = [np.bincount(np.clip(x, -15, 15) + 15, minlength=31) for x in (ours, theirs)]
        table = np.array([column for column in np.array(both).T if column.sum() >= 20]).T
        assert stats.chi2_contingency(table).pvalue > ALPHA
    else:
        assert stats.ks_2samp(ours, theirs).pvalue > ALPHA


def test_laplace_noise_is_symmetric_and_has_the_right_zero() -> None:
    draws = geometric(Fraction(2)).laplace(stream(3), DRAWS)
    r = math.exp(-1 / 2)
    weights = [(1 - r) / (1 + r) * r ** abs(x) for x in range(-20, 21)]
    assert chi_square(np.clip(draws, -20, 20) + 20, weights) > ALPHA


@settings(max_examples=60)
@given(
    rate=st.fractions(Fraction(1, 10**12), Fraction(20)),
    radix_bits=st.integers(1, 6),
    unbounded=st.booleans(),
    bits=st.sampled_from([64, 128, 192]),
    data=st.data(),
)
def test_boundaries_are_exact_floors(
    rate: Fraction, radix_bits: int, unbounded: bool, bits: int, data: st.DataObject
) -> None:
    radix = 1 << radix_bits
    j = data.draw(st.integers(1, radix - 1))
    digit = _Digit(rate, radix, unbounded=unbounded)
    with localcontext() as context:
        context.prec = 400
        assert getcontext().prec == 400
        exact = Decimal(rate.numerator) / Decimal(rate.denominator)
        value = 1 - (-exact * j).exp()
        if not unbounded:
            value /= 1 - (-exact * radix).exp()
        assert digit.boundary(j, bits) == math.floor(value * 2**bits)


class Scripted(Keystream):
    """Words that land on a boundary to 64 bits, then decide."""

    def __init__(self, prefix: int, rest: int, words: list[int]) -> None:
        super().__init__(SEED, "scripted")
        self._script = {"<u2": [prefix], "<u8": [rest, *words]}

    def words(self, count: int, dtype: str) -> Any:
        return np.array([self._script[dtype].pop(0) for _ in range(count)], dtype)


@pytest.mark.parametrize("above", [False, True])
def test_a_tie_of_64_bits_is_decided_by_the_next_64(above: bool) -> None:
    digit = _Digit(Fraction(1, 3), 8, unbounded=False)
    floor = digit.boundary(3, 64)
    following = digit.boundary(3, 128) & (2**64 - 1)
    ties = [following, 0] if above else [following - 1]
    if above:  # equal again for 64 bits more, then below the boundary's next word or above it
        third = digit.boundary(3, 192) & (2**64 - 1)
        ties = [following, third + 1]
    scripted = Scripted(floor >> 48, (floor << 16) & (2**64 - 1), ties)
    assert digit.draw(scripted, 1)[0] == (3 if above else 2)
    assert scripted._script["<u8"] == []


def test_the_leading_digit_has_no_end() -> None:
    digit = _Digit(Fraction(1, 4), 4, unbounded=True)  # half of the draws are 4 or more
    draws = digit.draw(stream(4), DRAWS)
    r = math.exp(-1 / 4)
    assert chi_square(draws, [(1 - r) * r**k for k in range(40)] + [r**40]) > ALPHA


@pytest.mark.parametrize(
    ("scale", "high"), [(Fraction(3), 20), (Fraction(30), 20), (Fraction(10**6), 20), (Fraction(1, 2), 3)]
)
@pytest.mark.parametrize("centre", [0, 7, 20])
def test_the_exponential_mechanism_has_the_declared_law(scale: Fraction, high: int, centre: int) -> None:
    centre = min(centre, high)
    draws = geometric(scale).truncated(stream(5), np.full(60_000, centre), np.full(60_000, high))
    assert draws.min() >= 0
    assert draws.max() <= high
    assert chi_square(draws, [math.exp(-abs(v - centre) / scale) for v in range(high + 1)]) > ALPHA


@pytest.mark.parametrize("epsilon", [Fraction(1, 10), Fraction(1), Fraction(6)])
def test_randomised_response_has_the_declared_law(epsilon: Fraction) -> None:
    draws = randomised_response(stream(6), np.full(DRAWS, 2), 5, epsilon)
    assert chi_square(draws, [math.exp(epsilon) if v == 2 else 1 for v in range(5)]) > ALPHA


def test_a_stream_repeats_and_streams_differ() -> None:
    noise = geometric(Fraction(50))
    assert (noise.laplace(stream(7), 5000) == noise.laplace(stream(7), 5000)).all()
    assert (noise.laplace(stream(7), 5000) != noise.laplace(stream(8), 5000)).mean() > 0.9
    other = Keystream(bytes(32), "test", 7)
    assert (noise.laplace(stream(7), 5000) != noise.laplace(other, 5000)).mean() > 0.9
    assert (stream(1).words(100, "<u8") != Keystream(SEED, "other", 1).words(100, "<u8")).any()


def test_words_and_integers_are_uniform() -> None:
    assert stats.chisquare(np.bincount(stream(9).words(DRAWS, "<u1"), minlength=256)).pvalue > ALPHA
    assert chi_square(stream(9).integers(np.full(DRAWS, 5)), [1] * 6) > ALPHA
    assert stats.binomtest(int(stream(9).bits(DRAWS).sum()), DRAWS).pvalue > ALPHA
    assert (stream(9).integers(np.zeros(10, np.int64)) == 0).all()


@pytest.mark.parametrize("scale", [Fraction(0), Fraction(-1), Fraction(MAX_SCALE + 1)])
def test_scales_out_of_range_are_refused(scale: Fraction) -> None:
    with pytest.raises(ValueError, match="noise scale"):
        Geometric(scale)


def test_the_widest_scale_has_the_right_spread() -> None:
    draws = Geometric(Fraction(MAX_SCALE)).laplace(stream(10), 100_000)
    assert 0.98 < np.abs(draws).mean() / MAX_SCALE < 1.02
