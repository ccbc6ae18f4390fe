from __future__ import annotations

import itertools
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_ndtr, ndtr

from contract.composition import COMPOSITIONS, Charge, Composition, delta_spent, spent
from contract.decimals import INFINITE
from p3vc.tightest import tightest

DELTA = Decimal("1e-5")
epsilons = st.decimals("0.001", "3", places=3)
histories = st.lists(epsilons, min_size=1, max_size=25)


def charges(history: list[Decimal]) -> list[Charge]:
    return [Charge(epsilon) for epsilon in history]


def exact(history: list[Decimal], rho: float = 0.0) -> float:
    """The optimal epsilon at DELTA of pure-DP mechanisms in sequence (Kairouz, Oh, Viswanath 2017), by enumeration.

    The worst of each is randomised response, whose loss is +e or -e; delta(t) = sum of max(0, P - e^t Q) over outcomes.
    Gaussian noise beside them spreads each outcome's loss l, so its part of delta is the Gaussian curve's at t - l.
    """
    signs = np.array(list(itertools.product([1, -1], repeat=len(history))), float)
    each = np.array([float(e) for e in history])
    log_p = -np.logaddexp(0, -signs * each).sum(axis=1)
    loss = signs @ each

    def delta(t: float) -> float:
        if rho:
            mu, s = math.sqrt(2 * rho), t - loss
            curve = ndtr(mu / 2 - s / mu) - np.exp(s + log_ndtr(-mu / 2 - s / mu))
            return float(np.sum(curve * np.exp(log_p)))
        return float(np.sum(np.maximum(0.0, -np.expm1(np.minimum(0.0, t - loss))) * np.exp(log_p)))

    low, high = 0.0, float(each.sum()) + rho + 10 * math.sqrt(rho)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if delta(middle) > float(DELTA) else (low, middle)
    return low


@given(histories)
def test_basic_is_the_exact_sum(history: list[Decimal]) -> None:
    assert spent(charges(history), "basic", None) == sum(history)


@given(histories, st.decimals("1e-12", "0.5", allow_nan=False))
def test_advanced_is_the_published_filter_rounded_up(history: list[Decimal], delta: Decimal) -> None:
    squares = sum(float(e) ** 2 for e in history)
    published = math.sqrt(2 * math.log(1 / float(delta)) * squares) + squares / 2
    assert spent(charges(history), "advanced", delta) == pytest.approx(Decimal(published), rel=Decimal("1e-9"))
    assert spent(charges(history), "advanced", delta) >= Decimal(published) * (1 - Decimal("1e-14"))


def test_the_published_figures() -> None:
    assert spent(charges([Decimal("0.1")] * 100), "advanced", DELTA) == pytest.approx(
        Decimal("5.2985"), abs=Decimal("1e-3")
    )
    assert spent(charges([Decimal("0.7")] * 10), "advanced", DELTA) == pytest.approx(
        Decimal("13.07"), abs=Decimal("1e-2")
    )


@settings(max_examples=25)
@given(st.lists(epsilons, min_size=1, max_size=8))
def test_no_rule_is_below_the_exact_loss(history: list[Decimal]) -> None:
    floor = exact(history)
    rules = [spent(charges(history), rule, DELTA) for rule in COMPOSITIONS]
    assert all(float(figure) >= floor - 1e-9 for figure in rules)
    figure, _ = tightest(charges(history), "zcdp", DELTA)
    assert figure <= min(rules)
    assert floor - 1e-9 <= float(figure)
    assert float(figure) <= floor + 1e-3 * (len(history) + 1)  # dp-accounting's grid is 1e-4 a mechanism


@settings(max_examples=40)
@given(history=histories, delta=st.sampled_from(["1e-3", "1e-5", "1e-9"]))
def test_zcdp_is_opendps_conversion_and_never_below_it(history: list[Decimal], delta: str) -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    rho = sum(e * e for e in history) / 2
    space = dp.atom_domain(T="i32"), dp.absolute_distance(T="i32")
    gaussian = dp.m.make_gaussian(*space, scale=math.sqrt(1 / (2 * float(rho))))
    converted: Any = dp.c.make_zCDP_to_approxDP(gaussian)
    theirs = converted.map(1).epsilon(float(delta))
    ours = spent(charges(history), "zcdp", Decimal(delta))
    assert float(ours) == pytest.approx(theirs, rel=1e-6)
    assert float(ours) >= theirs * (1 - 1e-9)
    assert ours <= spent(charges(history), "advanced", Decimal(delta))


@settings(max_examples=40)
@given(history=histories, budget=st.decimals("0.05", "20", places=3), measure=st.sampled_from(["pure", "zcdp"]))
def test_decisions_are_those_of_opendps_privacy_filter(history: list[Decimal], budget: Decimal, measure: str) -> None:
    """An adaptive sequence, refused ones left out, on both; budgets within 1e-9 of a sum may round either way."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.atom_domain(T="i32"), dp.absolute_distance(T="i32")
    pure = measure == "pure"
    odometer = dp.c.make_fully_adaptive_composition(
        *space, dp.max_divergence() if pure else dp.zero_concentrated_divergence()
    )
    queryable = dp.c.make_privacy_filter(odometer, d_in=1, d_out=float(budget))(0)
    admitted: list[Decimal] = []
    for epsilon in history:
        used = [*admitted, epsilon]
        total = spent(charges(used), "basic", None) if pure else sum((e * e for e in used), Decimal(0)) / 2
        if abs(total - budget) < Decimal("1e-9"):
            return
        laplace = dp.m.make_laplace(*space, scale=1 / float(epsilon))
        try:
            queryable(laplace if pure else dp.c.make_pureDP_to_zCDP(laplace))
            theirs = True
        except dp.OpenDPException:
            theirs = False
        assert theirs == (total <= budget)
        if not theirs:
            return  # OpenDP's filter answers nothing after a refusal
        admitted.append(epsilon)


_names = map(str, itertools.count())


def noise(epsilon: Decimal, delta: str = "1e-6") -> Charge:
    """The charge of a training run that no other grant is of."""
    return Charge.of_run(next(_names), epsilon, Decimal(delta))


runs = st.lists(epsilons.map(noise), min_size=1, max_size=4)


@given(histories, runs)
def test_basic_adds_epsilons_and_deltas(history: list[Decimal], trained: list[Charge]) -> None:
    mixed = [*charges(history), *trained]
    assert spent(mixed, "basic", None) == sum(history) + sum(c.epsilon for c in trained)
    assert delta_spent(mixed) == len(trained) * Decimal("1e-6")
    assert delta_spent(charges(history)) == 0


@given(histories, epsilons, st.sampled_from(COMPOSITIONS[1:]))
def test_noise_counts_by_its_rho(history: list[Decimal], epsilon: Decimal, rule: Composition) -> None:
    """What has the rho of a pure charge costs what that costs, whatever epsilon and delta it was asked at."""
    same = Charge(epsilon * 7, delta=DELTA, rho=epsilon * epsilon / 2, run="r")
    assert spent([*charges(history), same], rule, DELTA) == spent(charges([*history, epsilon]), rule, DELTA)


@settings(max_examples=25)
@given(st.lists(epsilons, max_size=6), runs)
def test_no_rule_is_below_the_exact_loss_under_noise(history: list[Decimal], trained: list[Charge]) -> None:
    mixed = [*charges(history), *trained]
    rho = sum(float(c.rho or 0) for c in trained)
    floor = exact(history, rho)
    rules = [spent(mixed, rule, DELTA) for rule in COMPOSITIONS[1:]]
    assert delta_spent(mixed) <= DELTA  # so the sum of the epsilons holds there, too
    assert all(float(figure) >= floor - 1e-9 for figure in [*rules, spent(mixed, "basic", None)])
    figure, _ = tightest(mixed, "zcdp", DELTA)
    assert figure <= min(rules)
    assert floor - 1e-9 <= float(figure) <= floor + 1e-3 * (len(mixed) + 1)


def test_a_sum_at_another_delta_is_no_figure() -> None:
    loose = noise(Decimal("0.1"), "0.01")
    figure, method = tightest([loose], "zcdp", DELTA)
    assert method == "pld"
    assert float(figure) == pytest.approx(exact([], float(loose.rho or 0)), abs=1e-3)
    assert figure > spent([loose], "basic", None)


parts = st.lists(st.tuples(epsilons, st.sampled_from([None, "a", "b"]), st.integers(0, 2), st.booleans()), max_size=12)


@given(parts, st.sampled_from(COMPOSITIONS))
def test_parallel_composition_costs_each_record_what_touches_it(
    drawn: list[tuple[Decimal, str | None, int, bool]], rule: Composition
) -> None:
    """The charge is the loss of the unluckiest record: any choice of one part per family."""
    mixed = [
        replace(noise(e) if noisy else Charge(e), family=family, part=part if family else None)
        for e, family, part, noisy in drawn
    ]
    records = [
        [
            replace(c, family=None, part=None)
            for c in mixed
            if c.family is None or c.part == (a if c.family == "a" else b)
        ]
        for a in range(3)
        for b in range(3)
    ]
    assert spent(mixed, rule, DELTA) == max(spent(record, rule, DELTA) for record in records)
    assert delta_spent(mixed) == max(delta_spent(record) for record in records)
    assert spent(mixed, rule, DELTA) <= spent([replace(c, family=None, part=None) for c in mixed], rule, DELTA)
    worst, _ = tightest(mixed, "basic", None)
    assert worst == spent(mixed, "basic", None)


@given(histories, epsilons, st.sampled_from(COMPOSITIONS))
def test_more_releases_cost_more(history: list[Decimal], epsilon: Decimal, rule: Composition) -> None:
    before = spent(charges(history), rule, DELTA)
    assert spent(charges([*history, epsilon]), rule, DELTA) > before


@pytest.mark.parametrize("rule", COMPOSITIONS)
def test_nothing_costs_nothing_and_no_claim_costs_everything(rule: Composition) -> None:
    assert spent([], rule, DELTA) == 0
    assert spent([Charge(Decimal(1)), Charge(INFINITE)], rule, DELTA) == INFINITE
    assert tightest([Charge(INFINITE)], "zcdp", DELTA) == (INFINITE, "zcdp")


def test_a_rule_that_needs_delta_says_so() -> None:
    with pytest.raises(ValueError, match="needs a delta"):
        spent(charges([Decimal(1)]), "zcdp", None)


def grants(run: str, count: int, epsilon: str = "3", delta: str = "1e-5") -> list[Charge]:
    return [Charge.of_run(run, Decimal(epsilon), Decimal(delta)) for _ in range(count)]


@pytest.mark.parametrize(("count", "figure"), [(1, 3.0), (2, 6.47), (5, 19.8)])
def test_copies_of_a_record_in_one_run_add_their_mu(count: int, figure: float) -> None:
    """One noise covers all copies: k grants at epsilon 3 cost more than 3k, at the sum of their deltas."""
    assert float(spent(grants("r", count), "basic", None)) == pytest.approx(figure, rel=2e-3)
    assert delta_spent(grants("r", count)) == count * DELTA


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("rs"), epsilons), max_size=5), histories.map(lambda h: h[:4]))
def test_no_rule_is_below_the_exact_loss_of_shared_noise(
    shared: list[tuple[str, Decimal]], history: list[Decimal]
) -> None:
    """An oracle of its own: each run is one Gaussian whose shifts add up, beside pure mechanisms."""
    mixed = [*charges(history), *(Charge.of_run(run, e, Decimal("1e-6")) for run, e in shared)]
    mus = [sum(math.sqrt(2 * float(c.rho or 0)) for c in mixed if c.run == run) for run in "rs"]
    floor = exact(history, sum(mu * mu / 2 for mu in mus))
    rules = [spent(mixed, rule, DELTA) for rule in COMPOSITIONS]
    assert delta_spent(mixed) <= DELTA  # so basic holds there, too
    assert all(float(figure) >= floor - 1e-9 for figure in rules)
    figure, _ = tightest(mixed, "zcdp", DELTA)
    assert figure <= min(rules)
    assert floor - 1e-9 <= float(figure) <= floor + 1e-3 * (len(mixed) + 1)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.integers(0, 2), st.sampled_from("rs")), max_size=7),
    st.sampled_from(COMPOSITIONS),
)
def test_shared_noise_costs_each_record_what_touches_it(
    drawn: list[tuple[str | None, int, str]], rule: Composition
) -> None:
    mixed = [
        Charge.of_run(run, Decimal(1), Decimal("1e-6"), family=family, part=part if family else None)
        for family, part, run in drawn
    ]
    records = [
        [replace(c, family=None, part=None) for c in mixed if c.family is None or c.part == {"a": a, "b": b}[c.family]]
        for a in range(3)
        for b in range(3)
    ]
    assert spent(mixed, rule, DELTA) == max(spent(record, rule, DELTA) for record in records)
    assert delta_spent(mixed) == max(delta_spent(record) for record in records)


def test_too_many_choices_add_up_and_never_cost_less() -> None:
    """Parts that no other covers, in many families: their product is not tried, their sum is an upper bound."""
    mixed = [
        charge
        for family in map(str, range(13))
        for charge in (
            Charge(Decimal(1), family=family, part=0),
            Charge.of_run("r", Decimal(1), Decimal("1e-6"), family=family, part=1),
        )
    ]
    least = spent([replace(c, family=None) for c in mixed if c.part == 1], "zcdp", DELTA)
    most = spent([replace(c, family=None) for c in mixed], "zcdp", DELTA)
    assert least < spent(mixed, "zcdp", DELTA) <= most
