"""The Gaussian curve against published and high-precision figures, and against the curve itself."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from testbed import gaussian

# epsilon, delta, mu: the last from bisecting the curve in 60 digits.
EXACT = [
    ("0.3", "1e-6", 0.07696817497557886),
    ("100", "1e-12", 8.8069897123027033),
    ("1000", "1e-5", 40.680531013332807),
    ("1000", "1e-30", 34.72203217823279),
    ("1e-12", "0.5", 1.3489795003929502),
    ("1000", "0.5", 44.743710926388137),
]


def phi(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


@pytest.mark.parametrize(("epsilon", "delta", "mu"), EXACT)
def test_it_is_the_true_figure_or_slightly_more(epsilon: str, delta: str, mu: float) -> None:
    found = gaussian.mu(Decimal(epsilon), Decimal(delta))
    assert mu * (1 - 1e-15) <= found <= mu * (1 + 1e-9)


def test_it_is_the_papers_calibration() -> None:
    """The analytic Gaussian mechanism of Balle and Wang at epsilon 1, delta 1e-5 and sensitivity 1."""
    assert 1 / gaussian.mu(Decimal(1), Decimal("1e-5")) == pytest.approx(3.730631634944469, rel=1e-9)


def test_where_doubles_cannot_tell_it_errs_upwards() -> None:
    """At epsilon 1e-12 and delta 1e-30 the curve drowns in rounding: the true mu is 1.21e-13."""
    assert 1.21e-13 <= gaussian.mu(Decimal("1e-12"), Decimal("1e-30")) < 1e-11


@given(st.floats(0.01, 30))
def test_halfway_it_has_a_closed_form(mu: float) -> None:
    """At epsilon = mu^2/2 the first term is 1/2 and the second e^epsilon Phi(-mu)."""
    epsilon = mu * mu / 2
    delta = 0.5 - math.exp(epsilon) * phi(-mu)
    assume(delta > 1e-9)
    assert gaussian.mu(Decimal(epsilon), Decimal(delta)) == pytest.approx(mu, rel=1e-6)


@given(st.floats(0.05, 8), st.floats(0.05, 5))
def test_it_inverts_the_curve(mu: float, epsilon: float) -> None:
    delta = phi(mu / 2 - epsilon / mu) - math.exp(epsilon) * phi(-mu / 2 - epsilon / mu)
    assume(1e-9 < delta <= 0.5)
    assert gaussian.mu(Decimal(epsilon), Decimal(delta)) == pytest.approx(mu, rel=1e-6)


PRICES = st.tuples(
    st.decimals(min_value="1e-6", max_value=1000, places=6),
    st.decimals(min_value="1e-12", max_value="0.5", places=12),
)


@given(PRICES, PRICES)
def test_a_higher_price_never_buys_less(one: tuple[Decimal, Decimal], other: tuple[Decimal, Decimal]) -> None:
    least = (min(one[0], other[0]), min(one[1], other[1]))
    assert gaussian.mu(*least) <= min(gaussian.mu(*one), gaussian.mu(*other)) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("epsilon", "delta"), [("1", "0"), ("1", "0.6"), ("0", "1e-6"), ("-1", "1e-6"), ("1001", "1e-6"), ("1", "-1e-6")]
)
def test_what_no_noise_gives_is_refused(epsilon: str, delta: str) -> None:
    with pytest.raises(ValueError, match="no Gaussian noise"):
        gaussian.mu(Decimal(epsilon), Decimal(delta))
