"""The accountant: how the charges on one dataset add up, in decimals rounded outward.

A charge is pure ε-DP (a release), or Gaussian noise that is (ε, δ)-DP and rho-zCDP at once (a grant of a training run).
The rule is fixed when the dataset is registered and decides what is admitted:

- ``basic``: the sum of the epsilons, exact, at the sum of the deltas (``delta_spent``), which the registered delta
  bounds.
- ``advanced``: sqrt(2 ln(1/δ) S) + S/2 with S = Σε² over pure charges + Σ2·rho over Gaussian ones, valid for adaptively
  chosen charges as a privacy filter: Whitehouse, Ramdas, Rogers, Wu, "Fully-Adaptive Composition in Differential
  Privacy", ICML 2023, Theorem 1; a Gaussian charge enters as its zCDP does (Bun, Steinke 2016, Proposition 1.3).
- ``zcdp``: each pure ε is ε²/2-zCDP (Bun, Steinke 2016, Proposition 1.4); rho adds up under a filter (Feldman, Zrnic
  2021); it converts to (ε, δ) as in Canonne, Kamath, Steinke 2020, Proposition 12. Never above ``advanced``.

The deltas of Gaussian charges do not add under the last two: rho-zCDP holds without one.

One noise covers every copy of a record in a run: k grants of one run on the same records move its model k times as far,
so they add their mu = √(2·rho), not their rho. Together they cost (Σ√rho)² in zCDP, and under ``basic`` the epsilon of
that one Gaussian at the sum of their deltas, by the exact curve of ``contract.gaussian``.

A running minimum of the rules is covered by none of these theorems, so decisions never take one.

Parallel composition (McSherry 2009, Theorem 4): parts of one partition share no record, so a family costs its dearest
part, and only where the claims carry the data owner's assertion that no person has records in two parts. Otherwise
everything adds up.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from itertools import product
from typing import Literal, get_args

from contract import gaussian
from contract.decimals import DOWN, INFINITE, UP, root_up, total

Composition = Literal["basic", "advanced", "zcdp"]
COMPOSITIONS: tuple[Composition, ...] = get_args(Composition)

_GRAIN = Decimal("1e-12")
_CHOICES = 4096  # of a part from each family that are compared; beyond, a family's parts add up


@dataclass(frozen=True)
class Charge:
    """What one claim costs a record it covers.

    Attributes:
        epsilon: total epsilon, features and labels; infinite for a release without a claim.
        delta: of Gaussian noise, at ``epsilon``; zero for pure DP.
        rho: of Gaussian noise, in zCDP; None for pure DP, whose rho is epsilon²/2.
        run: the training run whose noise it is, which all its grants share; of Gaussian noise, and of nothing else.
        family: the partition, when a disjointness assertion is recorded.
        part: the part's index within the family.
    """

    epsilon: Decimal
    delta: Decimal = Decimal(0)
    rho: Decimal | None = None
    run: str | None = None
    family: str | None = None
    part: int | None = None

    def __post_init__(self) -> None:
        if (self.rho is None) != (self.run is None):
            raise ValueError("Gaussian noise is of a run, and nothing else is")

    @staticmethod
    def of_run(
        run: str, epsilon: Decimal, delta: Decimal, *, family: str | None = None, part: int | None = None
    ) -> Charge:
        """Return what a grant of ``run`` costs: the Gaussian noise that is just (epsilon, delta)-DP.

        Args:
            run: the run's id.
            epsilon: above 0.
            delta: in (0, 1).
            family: as the attribute.
            part: as the attribute.
        """
        return Charge(epsilon, delta, gaussian.rho(epsilon, delta), run, family, part)

    @property
    def mu(self) -> Decimal:
        """Of Gaussian noise: what the model moves by, in standard deviations of its noise; rounded up."""
        return root_up(UP.multiply(2, self.rho or Decimal(0)))


def spent(charges: Iterable[Charge], composition: Composition, delta: Decimal | None) -> Decimal:
    """Return the epsilon that ``charges`` come to under a registered rule, never below the true figure.

    Args:
        charges: in any order.
        composition: ``basic``, ``advanced`` or ``zcdp``.
        delta: in (0, 1); needed by all but ``basic``, whose epsilon holds at ``delta_spent``.

    Raises:
        ValueError: the rule needs a delta and has none.
    """
    known = list(charges)
    if any(charge.epsilon == INFINITE for charge in known):
        return INFINITE
    if composition != "basic" and (delta is None or not 0 < delta < 1):
        raise ValueError(f"composition {composition} needs a delta between 0 and 1")
    return max(_figure(history, composition, delta) for history in histories(known))


def delta_spent(charges: Iterable[Charge]) -> Decimal:
    """Return the delta at which the sum of the epsilons holds: zero as long as every charge is pure."""
    return max(total(charge.delta for charge in history) for history in histories(charges))


def by_run(history: Iterable[Charge]) -> dict[str, list[Charge]]:
    """Return the Gaussian charges of a record by the run whose noise they share."""
    runs: dict[str, list[Charge]] = defaultdict(list)
    for charge in history:
        if charge.run is not None:
            runs[charge.run].append(charge)
    return dict(runs)


def histories(charges: Iterable[Charge]) -> list[list[Charge]]:
    """Return what the records that may lose most have gone through: one part of each family, in every combination.

    A part that another covers is left out: whatever record is in it loses no more.
    """
    history, families = split(charges)
    fronts: list[list[list[Charge]]] = []
    choices = 1
    for parts in families:
        front = _front(parts)
        if choices * len(front) > _CHOICES:
            front = [[charge for part in front for charge in part]]
        choices *= len(front)
        fronts.append(front)
    return [history + [charge for part in choice for charge in part] for choice in product(*fronts)]


def split(charges: Iterable[Charge]) -> tuple[list[Charge], list[list[list[Charge]]]]:
    """Split charges into those that all add up, and per family the histories of its parts."""
    alone: list[Charge] = []
    families: dict[str, dict[int | None, list[Charge]]] = defaultdict(lambda: defaultdict(list))
    for charge in charges:
        if charge.family is None:
            alone.append(charge)
        else:
            families[charge.family][charge.part].append(charge)
    return alone, [list(parts.values()) for parts in families.values()]


def _front(parts: Iterable[list[Charge]]) -> list[list[Charge]]:
    front: list[tuple[_Weight, list[Charge]]] = []
    for part in parts:
        weight = _Weight.of(part)
        if any(other.covers(weight) for other, _ in front):
            continue
        front = [(other, kept) for other, kept in front if not weight.covers(other)]
        front.append((weight, part))
    return [part for _, part in front]


@dataclass(frozen=True)
class _Weight:
    """Everything by which any rule weighs a part.

    Attributes:
        costs: none weighs the part less where one of these is more.
        deltas: of each run; its epsilon falls where its delta grows, so only parts of equal ones can be compared.
    """

    costs: Mapping[str, Decimal]
    deltas: Mapping[str, Decimal]

    @staticmethod
    def of(part: Sequence[Charge]) -> _Weight:
        pure = [charge.epsilon for charge in part if charge.rho is None]
        costs, deltas = {"sum": total(pure), "squares": total(UP.multiply(e, e) for e in pure)}, {}
        for run, grants in by_run(part).items():
            costs[f"mu of {run}"] = total(grant.mu for grant in grants)
            costs[f"epsilon of {run}"] = max(grant.epsilon for grant in grants)
            deltas[run] = total(grant.delta for grant in grants)
        return _Weight(costs, deltas)

    def covers(self, other: _Weight) -> bool:
        return self.deltas == other.deltas and all(self.costs[key] >= cost for key, cost in other.costs.items())


def _figure(history: Sequence[Charge], composition: Composition, delta: Decimal | None) -> Decimal:
    pure = [charge.epsilon for charge in history if charge.rho is None]
    runs = by_run(history).values()
    if composition == "basic":
        return total([*pure, *map(_run_epsilon, runs)])
    assert delta is not None  # noqa: S101 - ``spent`` looks
    squares = total([*(UP.multiply(e, e) for e in pure), *map(_run_square, runs)])
    if not squares:
        return Decimal(0)
    figure = _advanced(squares, delta) if composition == "advanced" else _zcdp(UP.divide(squares, Decimal(2)), delta)
    return figure.quantize(_GRAIN, rounding=ROUND_CEILING)


def _run_square(grants: Sequence[Charge]) -> Decimal:
    """Return mu² of the run, which is twice its rho; of one grant exactly what was recorded."""
    if len(grants) == 1:
        return UP.multiply(2, grants[0].rho or Decimal(0))
    mu = total(grant.mu for grant in grants)
    return UP.multiply(mu, mu)


def _run_epsilon(grants: Sequence[Charge]) -> Decimal:
    """Return the run's epsilon at the sum of its deltas; of one grant exactly what was asked for."""
    if len(grants) == 1:
        return grants[0].epsilon
    mu, delta = total(grant.mu for grant in grants), total(grant.delta for grant in grants)
    if delta >= 1:  # promises nothing, whatever the epsilon
        return INFINITE
    return max(gaussian.epsilon(mu, delta), *(grant.epsilon for grant in grants))


def _log_inverse(delta: Decimal) -> Decimal:
    """Return ln(1/delta), rounded up: Decimal's ln rounds to nearest, whatever the context."""
    return -DOWN.next_minus(DOWN.ln(delta))


def _advanced(squares: Decimal, delta: Decimal) -> Decimal:
    root = root_up(UP.multiply(UP.multiply(Decimal(2), _log_inverse(delta)), squares))
    return UP.add(root, UP.divide(squares, Decimal(2)))


def _zcdp(rho: Decimal, delta: Decimal) -> Decimal:
    """Convert rho-zCDP. The bound holds for every alpha > 1: alpha is searched in floats, the bound is in decimals."""
    log, r = float(_log_inverse(delta)), float(rho)

    def bound(t: float) -> float:  # alpha = 1 + e^t
        gap = math.exp(t)
        return r * (1 + gap) + log / gap - math.log1p(1 / gap) - math.log1p(gap) / gap

    centre = 0.5 * math.log(log / r)  # the optimum of rho alpha + ln(1/δ)/(alpha - 1)
    low, high = centre - 6, centre + 6
    for _ in range(120):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if bound(left) < bound(right) else (left, high)
    gap = Decimal(math.exp(low))
    alpha = DOWN.add(1, gap)
    alpha_up = UP.add(1, gap)
    # rho alpha + [ln(1/δ) - ln alpha]/(alpha - 1) + ln((alpha - 1)/alpha), each term rounded up.
    middle = UP.divide(UP.subtract(_log_inverse(delta), DOWN.next_minus(DOWN.ln(alpha))), gap)
    last = UP.next_plus(UP.ln(UP.divide(gap, alpha)))
    return max(UP.add(UP.add(UP.multiply(rho, alpha_up), middle), last), Decimal(0))
