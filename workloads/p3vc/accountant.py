"""How releases of one dataset add up, in decimals rounded outward.

A charge is pure ε-DP (a release), or Gaussian noise that is (ε, δ)-DP and rho-zCDP at once (a training run). The rule
is fixed when the dataset is registered and decides what is admitted:

- ``basic``: the sum of the epsilons, exact, at the sum of the deltas (``delta_spent``), which the registered delta
  bounds.
- ``advanced``: sqrt(2 ln(1/δ) S) + S/2 with S = Σε² over pure charges + Σ2·rho over Gaussian ones, valid for adaptively
  chosen charges as a privacy filter: Whitehouse, Ramdas, Rogers, Wu, "Fully-Adaptive Composition in Differential
  Privacy", ICML 2023, Theorem 1; a Gaussian charge enters as its zCDP does (Bun, Steinke 2016, Proposition 1.3).
- ``zcdp``: each pure ε is ε²/2-zCDP (Bun, Steinke 2016, Proposition 1.4); rho adds up under a filter (Feldman, Zrnic
  2021); it converts to (ε, δ) as in Canonne, Kamath, Steinke 2020, Proposition 12. Never above ``advanced``.

The deltas of Gaussian charges do not add under the last two: rho-zCDP holds without one.

A running minimum of the rules is covered by none of these theorems, so decisions never take one; ``tightest``
reports the least figure that holds for the history as it stands, for information only.

Parallel composition: parts of one partition share no record, so a family costs its dearest part, and only where the
claims carry the data owner's assertion that no person has records in two parts. Otherwise everything adds up.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from itertools import zip_longest

COMPOSITIONS = ("basic", "advanced", "zcdp")
INFINITE = Decimal("Infinity")
_UP = Context(prec=60, rounding=ROUND_CEILING)
_DOWN = Context(prec=60, rounding=ROUND_FLOOR)
_GRAIN = Decimal("1e-12")
_PLD_RHO = 100  # beyond, the grid of 1e-4 has millions of points, for a figure that protects nobody


@dataclass(frozen=True)
class Charge:
    """What one claim costs a record it covers.

    Attributes:
        epsilon: total epsilon, features and labels; infinite for a release without a claim.
        family: the partition family, when a disjointness assertion is recorded.
        part: the part's index within the family.
        delta: of Gaussian noise, at ``epsilon``; zero for pure DP.
        rho: of Gaussian noise, in zCDP; None for pure DP, whose rho is epsilon²/2.
    """

    epsilon: Decimal
    family: str | None = None
    part: int | None = None
    delta: Decimal = Decimal(0)
    rho: Decimal | None = None

    @property
    def square(self) -> Decimal:
        """Twice the rho, rounded up: what the rules with a delta add up."""
        return _UP.multiply(self.epsilon, self.epsilon) if self.rho is None else _UP.multiply(2, self.rho)


def spent(charges: Iterable[Charge], composition: str, delta: Decimal | None) -> Decimal:
    """Return the epsilon that ``charges`` come to under a registered rule, never below the true figure.

    Args:
        charges: in any order.
        composition: ``basic``, ``advanced`` or ``zcdp``.
        delta: in (0, 1); needed by all but ``basic``, whose epsilon holds at ``delta_spent``.
    """
    return _compose(_worst(charges, _epsilons if composition == "basic" else _squares), composition, delta)


def delta_spent(charges: Iterable[Charge]) -> Decimal:
    """Return the delta at which the sum of the epsilons holds: zero as long as every charge is pure."""
    return _deltas(_worst(charges, _deltas))


def tightest(charges: Sequence[Charge], composition: str, delta: Decimal | None) -> tuple[Decimal, str]:
    """Return the least valid epsilon of a finished history at ``delta``, and the method that gives it.

    After a release without a claim none is finite, whatever the method: the registered rule stands for all.

    Beside the three rules it tries the privacy-loss distribution of dp-accounting, which is exact for heterogeneous
    pure-DP mechanisms and Gaussian noise up to its grid (pessimistic). For reports, not for decisions.
    """
    if any(charge.epsilon == INFINITE for charge in charges):
        return INFINITE, composition
    candidates = []
    if delta is None or delta_spent(charges) <= delta:
        candidates.append((_compose(_worst(charges, _epsilons), "basic", None), "basic"))
    history = _worst(charges, _squares)
    if delta is not None and history:
        candidates += [(_compose(history, rule, delta), rule) for rule in ("advanced", "zcdp")]
        epsilons, rho = _dominating(charges)
        if rho <= _PLD_RHO:
            candidates.append((_loss_distribution(epsilons, rho, delta), "pld"))
    return min(candidates)


def _total(values: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for value in values:
        total = _UP.add(total, value)
    return total


def _epsilons(history: Iterable[Charge]) -> Decimal:
    return _total(charge.epsilon for charge in history)


def _deltas(history: Iterable[Charge]) -> Decimal:
    return _total(charge.delta for charge in history)


def _squares(history: Iterable[Charge]) -> Decimal:
    return _total(charge.square for charge in history)


def _families(charges: Iterable[Charge]) -> tuple[list[Charge], list[list[list[Charge]]]]:
    """Split charges into those that all add up, and per family the histories of its parts."""
    alone: list[Charge] = []
    families: dict[str, dict[int | None, list[Charge]]] = defaultdict(lambda: defaultdict(list))
    for charge in charges:
        if charge.family is None:
            alone.append(charge)
        else:
            families[charge.family][charge.part].append(charge)
    return alone, [list(parts.values()) for parts in families.values()]


def _worst(charges: Iterable[Charge], weight: Callable[[Iterable[Charge]], Decimal]) -> list[Charge]:
    """Return the history of the record that loses most: a record is in one part of each family."""
    history, families = _families(charges)
    for parts in families:
        history += max(parts, key=weight)
    return history


def _dominating(charges: Iterable[Charge]) -> tuple[list[Decimal], Decimal]:
    """Return pure epsilons and a rho that no record's history exceeds, for methods whose cost is not a sum."""
    alone, families = _families(charges)
    epsilons, rho = _split(alone)
    for parts in families:
        each = [_split(part) for part in parts]
        ranked = (sorted(pure, reverse=True) for pure, _ in each)
        epsilons += [max(column) for column in zip_longest(*ranked, fillvalue=Decimal(0))]
        rho = _UP.add(rho, max(noise for _, noise in each))
    return epsilons, rho


def _split(history: Iterable[Charge]) -> tuple[list[Decimal], Decimal]:
    charges = list(history)
    return [c.epsilon for c in charges if c.rho is None], _total(c.rho for c in charges if c.rho is not None)


def _compose(history: list[Charge], composition: str, delta: Decimal | None) -> Decimal:
    if any(charge.epsilon == INFINITE for charge in history):
        return INFINITE
    if composition == "basic":
        return _epsilons(history)
    if delta is None:
        raise ValueError(f"composition {composition} needs a delta")
    squares = _squares(history)
    if not squares:
        return Decimal(0)
    figure = _advanced(squares, delta) if composition == "advanced" else _zcdp(_UP.divide(squares, Decimal(2)), delta)
    return figure.quantize(_GRAIN, rounding=ROUND_CEILING)


def _log_up(x: Decimal) -> Decimal:
    return _UP.next_plus(_UP.ln(x))  # Decimal's ln and sqrt round to nearest, whatever the context


def _log_inverse(delta: Decimal) -> Decimal:
    """Return ln(1/delta), rounded up."""
    return -_DOWN.next_minus(_DOWN.ln(delta))


def _advanced(squares: Decimal, delta: Decimal) -> Decimal:
    root = _UP.next_plus(_UP.sqrt(_UP.multiply(_UP.multiply(Decimal(2), _log_inverse(delta)), squares)))
    return _UP.add(root, _UP.divide(squares, Decimal(2)))


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
    alpha = _DOWN.add(1, gap)
    alpha_up = _UP.add(1, gap)
    # rho alpha + [ln(1/δ) - ln alpha]/(alpha - 1) + ln((alpha - 1)/alpha), each term rounded up.
    middle = _UP.divide(_UP.subtract(_log_inverse(delta), _DOWN.next_minus(_DOWN.ln(alpha))), gap)
    total = _UP.add(_UP.add(_UP.multiply(rho, alpha_up), middle), _log_up(_UP.divide(gap, alpha)))
    return max(total, Decimal(0))


def _loss_distribution(epsilons: list[Decimal], rho: Decimal, delta: Decimal) -> Decimal:
    from dp_accounting.pld import common  # noqa: PLC0415 - a second of imports that only reports need
    from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: PLC0415

    parts = [pld.from_privacy_parameters(common.DifferentialPrivacyParameters(_up_float(e), 0.0)) for e in epsilons]
    if rho:  # rounds and runs of Gaussian noise are one Gaussian whose squared shifts add up: mu² = 2 rho
        root = _DOWN.next_minus(_DOWN.sqrt(_DOWN.divide(1, _UP.multiply(2, rho))))
        parts.append(pld.from_gaussian_mechanism(math.nextafter(float(root), 0.0)))
    total = parts[0]
    for part in parts[1:]:
        total = total.compose(part)
    figure = Decimal(total.get_epsilon_for_delta(float(delta)))
    return figure.quantize(Decimal("1e-9"), rounding=ROUND_CEILING)


def _up_float(value: Decimal) -> float:
    nearest = float(value)
    return nearest if Decimal(nearest) >= value else math.nextafter(nearest, math.inf)
