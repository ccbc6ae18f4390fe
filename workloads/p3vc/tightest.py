"""The least epsilon that holds for a finished history: for reports, never for a decision.

A running minimum of composition rules is covered by no theorem, so a dataset's own rule alone decides what is admitted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Decimal
from itertools import zip_longest

from contract.composition import COMPOSITIONS, Charge, Composition, by_run, delta_spent, spent, split
from contract.decimals import DOWN, INFINITE, UP, total

_PLD_RHO = 100  # beyond, the grid of 1e-4 has millions of points, for a figure that protects nobody


def tightest(charges: Sequence[Charge], composition: Composition, delta: Decimal | None) -> tuple[Decimal, str]:
    """Return the least valid epsilon of a finished history at ``delta``, and the method that gives it.

    After a release without a claim none is finite, whatever the method: the registered rule stands for all.

    Beside the three rules it tries the privacy-loss distribution of dp-accounting, which is exact for heterogeneous
    pure-DP mechanisms and Gaussian noise up to its grid (pessimistic).

    Args:
        charges: in any order.
        composition: the registered rule.
        delta: the registered one; None under ``basic`` without one.
    """
    if any(charge.epsilon == INFINITE for charge in charges):
        return INFINITE, composition
    candidates = []
    if delta is None or delta_spent(charges) <= delta:
        candidates.append((spent(charges, "basic", None), "basic"))
    if delta is not None and charges:
        candidates += [(spent(charges, rule, delta), rule) for rule in COMPOSITIONS if rule != "basic"]
        epsilons, rho = _dominating(charges)
        if rho <= _PLD_RHO:
            candidates.append((_loss_distribution(epsilons, rho, delta), "pld"))
    return min(candidates)


def _dominating(charges: Iterable[Charge]) -> tuple[list[Decimal], Decimal]:
    """Return pure epsilons and a rho that no record's history exceeds, for methods whose cost is not a sum."""
    alone, families = split(charges)
    epsilons, runs = _pure(alone), _mus(alone)
    for parts in families:
        ranked = (sorted(_pure(part), reverse=True) for part in parts)
        epsilons += [max(column) for column in zip_longest(*ranked, fillvalue=Decimal(0))]
        each = [_mus(part) for part in parts]
        for run in {run for mus in each for run in mus}:
            most = max(mus.get(run, Decimal(0)) for mus in each)
            runs[run] = UP.add(runs.get(run, Decimal(0)), most)
    return epsilons, UP.divide(total(UP.multiply(mu, mu) for mu in runs.values()), Decimal(2))


def _pure(history: Iterable[Charge]) -> list[Decimal]:
    return [charge.epsilon for charge in history if charge.rho is None]


def _mus(history: Iterable[Charge]) -> dict[str, Decimal]:
    return {run: total(grant.mu for grant in grants) for run, grants in by_run(history).items()}


def _loss_distribution(epsilons: list[Decimal], rho: Decimal, delta: Decimal) -> Decimal:
    from dp_accounting.pld import common  # noqa: PLC0415 - a second of imports that only reports need
    from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: PLC0415

    parts = [pld.from_privacy_parameters(common.DifferentialPrivacyParameters(_up_float(e), 0.0)) for e in epsilons]
    if rho:  # rounds and runs of Gaussian noise are one Gaussian whose squared shifts add up: mu² = 2 rho
        root = DOWN.next_minus(DOWN.sqrt(DOWN.divide(1, UP.multiply(2, rho))))
        parts.append(pld.from_gaussian_mechanism(math.nextafter(float(root), 0.0)))
    composed = parts[0]
    for part in parts[1:]:
        composed = composed.compose(part)
    figure = Decimal(composed.get_epsilon_for_delta(float(delta)))
    return figure.quantize(Decimal("1e-9"), rounding=ROUND_CEILING)


def _up_float(value: Decimal) -> float:
    nearest = float(value)
    return nearest if Decimal(nearest) >= value else math.nextafter(nearest, math.inf)
