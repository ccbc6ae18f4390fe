"""The Gaussian curve against the libraries that have it, and Flower's accountant."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import gaussian
from contract.decimals import root_up

epsilons = st.decimals("0.001", "50", places=3)
deltas = st.sampled_from([Decimal(d) for d in ("1e-12", "1e-9", "1e-6", "1e-5", "1e-3", "0.05")])
rounds = st.integers(1, 1000)
extremes = [(Decimal(e), Decimal(d)) for e in ("1e-12", "0.3", "40", "1000") for d in ("1e-30", "1e-6", "0.5", "0.999")]


@given(epsilon=st.decimals("0.001", "20", places=3), mu=st.decimals("0.02", "6", places=3))
def test_the_curve_is_dp_accountings(epsilon: Decimal, mu: Decimal) -> None:
    from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

    theirs = GaussianPrivacyLoss(standard_deviation=1 / float(mu)).get_delta_for_epsilon(float(epsilon))
    assert float(gaussian.delta(mu, epsilon)) == pytest.approx(theirs, rel=1e-6, abs=1e-14)


@given(epsilons, deltas, rounds)
def test_the_noise_is_the_least_that_keeps_the_claim(epsilon: Decimal, delta: Decimal, count: int) -> None:
    """Rounds of ratio 2/z are one of 2 sqrt(R)/z; with a part in 10^5 less noise the claim fails."""
    z = Decimal(gaussian.noise_multiplier(epsilon, delta, count))
    mu = 2 * Decimal(count).sqrt() / z
    assert gaussian.delta(mu, epsilon) <= delta
    assert gaussian.delta(mu * (1 + Decimal("2e-5")), epsilon) > delta
    charged = gaussian.rho(epsilon, delta)
    assert mu * mu / 2 <= charged <= mu * mu / 2 * (1 + Decimal("4e-5"))


@pytest.mark.parametrize(("epsilon", "delta"), extremes)
def test_the_same_at_the_ends_of_what_the_command_takes(epsilon: Decimal, delta: Decimal) -> None:
    z = Decimal(gaussian.noise_multiplier(epsilon, delta, 7))
    mu = 2 * Decimal(7).sqrt() / z
    assert gaussian.delta(mu, epsilon) <= delta < gaussian.delta(mu * (1 + Decimal("2e-5")), epsilon)
    assert mu * mu / 2 <= gaussian.rho(epsilon, delta)


@settings(max_examples=30)
@given(epsilons, st.sampled_from(["1e-9", "1e-5", "1e-3"]))
def test_opendps_conversion_of_the_same_noise_is_never_tighter(epsilon: Decimal, delta: str) -> None:
    """OpenDP goes through zCDP, which is a bound of the exact curve."""
    import opendp.prelude as dp

    dp.enable_features("contrib", "idealized-numerics")
    space = dp.atom_domain(T=float, nan=False), dp.absolute_distance(T=float)
    z = gaussian.noise_multiplier(epsilon, Decimal(delta), 1)
    noise: Any = dp.m.make_gaussian(*space, scale=z)
    assert noise.map(2.0) <= float(gaussian.rho(epsilon, Decimal(delta))) * (1 + 1e-9)
    converted: Any = dp.c.make_zCDP_to_approxDP(noise)
    theirs = converted.map(2.0).epsilon(float(delta))
    assert float(epsilon) * (1 - 1e-5) <= theirs <= float(epsilon) * 1.5 + 1e-3


@settings(max_examples=30)
@given(st.sampled_from(["1e-12", "0.001", "0.1", "0.3", "1", "3", "10", "1000"]), deltas, rounds)
def test_the_charge_is_never_below_flowers_figure(epsilon: str, delta: Decimal, count: int) -> None:
    """Flower counts adding or removing a client, half the shift of replacing its data."""
    from flwr.serverapp import GaussianPrivacyEvent

    from federation.noise import accountant
    from federation.settings import Settings

    z = gaussian.noise_multiplier(Decimal(epsilon), delta, count)
    told = Settings(grant="0" * 12, training_epsilon=epsilon, training_delta=str(delta), num_clients=3)
    theirs = accountant(told)
    theirs.compose(GaussianPrivacyEvent(z, 3, 3), count)
    assert theirs.get_epsilon(float(delta)) <= float(epsilon) * 0.8


@settings(max_examples=60)
@given(epsilons, deltas)
def test_epsilon_is_the_inverse_of_rho(epsilon: Decimal, delta: Decimal) -> None:
    """Rounded up on the way there and on the way back, and by no more than the last digits."""
    mu = root_up(2 * gaussian.rho(epsilon, delta))
    back = gaussian.epsilon(mu, delta)
    assert epsilon <= back <= epsilon * (1 + Decimal("1e-9")) + Decimal("1e-9")
    assert gaussian.delta(mu, back) <= delta
