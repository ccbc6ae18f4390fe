from __future__ import annotations

from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.budget import Composition, Loss, compose

DELTA = Decimal("1e-5")
RULES = get_args(Composition)
EPSILONS = st.decimals(min_value="0.001", max_value=20, places=3)
DELTAS = st.sampled_from([Decimal(0), Decimal("1e-12"), Decimal("1e-6"), Decimal("0.01")])
LOSSES = st.builds(Loss, EPSILONS, DELTAS)


@pytest.mark.parametrize("rule", RULES)
@given(st.lists(LOSSES, max_size=6), LOSSES)
def test_another_claim_never_lowers_the_total(rule: Composition, losses: list[Loss], more: Loss) -> None:
    assert compose([*losses, more], rule, DELTA) > compose(losses, rule, DELTA)


@pytest.mark.parametrize("rule", RULES)
@given(st.lists(LOSSES, max_size=6), LOSSES, EPSILONS)
def test_a_dearer_claim_never_lowers_the_total(
    rule: Composition, losses: list[Loss], one: Loss, extra: Decimal
) -> None:
    dearer = Loss(one.epsilon + extra, one.delta)
    assert compose([*losses, dearer], rule, DELTA) >= compose([*losses, one], rule, DELTA)


@given(st.lists(LOSSES, min_size=1, max_size=6))
def test_the_sum_is_exact(losses: list[Loss]) -> None:
    assert compose(losses, "basic") == sum((loss.epsilon for loss in losses), Decimal(0))


@given(EPSILONS, st.sampled_from(["1e-12", "1e-6", "0.01"]))
def test_the_way_through_zcdp_costs_no_less_than_the_claim_itself(epsilon: Decimal, delta: str) -> None:
    claim = Loss(epsilon, Decimal(delta))
    assert compose([claim], "zcdp", Decimal(delta)) >= epsilon


def test_a_gaussian_claim_counts_as_its_noise_and_a_pure_one_as_its_epsilon() -> None:
    assert Loss(Decimal("0.7")).square == Decimal("0.49")
    noisy = Loss(Decimal(1), DELTA).square
    assert float(noisy) == pytest.approx(1 / 3.730631634944469**2, rel=1e-9)


@pytest.mark.parametrize("rule", ["advanced", "zcdp"])
@pytest.mark.parametrize("delta", [None, Decimal(0), Decimal(1)])
def test_a_rule_with_a_delta_needs_one(rule: Composition, delta: Decimal | None) -> None:
    with pytest.raises(ValueError, match="needs a delta"):
        compose([Loss(Decimal(1))], rule, delta)
