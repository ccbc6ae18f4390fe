"""An empirical lower bound on epsilon, from a likelihood-ratio test between two neighbours.

A mechanism runs many times on a record and on its worst neighbour. For an event S, ε-DP demands P(S | x) <= e^ε P(S
| x'), so ln(P(S | x)/P(S | x')) is a lower bound on ε. The event thresholds the statistic that orders outputs by
likelihood ratio. Which neighbours, statistic, threshold and direction tell most is found on one half of the trials, and
Clopper-Pearson bounds on the other half make the result hold with 99.9 % confidence (Jagielski, Ullman, Oprea, NeurIPS
2020). Above the claim, the claim is false; below it, nothing is proved. The trials see what a client sees: final uint8
images, of the changed record and of others, in one batch and in the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p3vc import mechanisms, release
from p3vc.keystream import Keystream
from p3vc.sampler import randomised_response
from p3vc.sensitivity import Domain

_BLOCK, _CLASSES = 4, 10
_FAILURE = 0.001
_BATCH = 4096
# Trials: count, secret seed and number of the batch → count x statistics.
Trials = Callable[[int, bytes, int], NDArray[np.float64]]
Pair = tuple[Trials, Trials]


def audit(name: str, epsilon: Decimal, trials: int, seed: int) -> dict[str, Any]:
    """Return the measured lower bound on the epsilon of a mechanism.

    Args:
        name: a mechanism, or ``labels`` for randomised response.
        epsilon: what is claimed.
        trials: runs on each of the two neighbours.
        seed: of the trials; the same seed gives the same result.
    """
    pairs = [_labels(epsilon)] if name == "labels" else _pairs(name, epsilon)
    bound = lower_bound(pairs, trials, seed)
    claims = name != "paper"
    return {
        "mechanism": name,
        "claimed": str(epsilon) if claims else None,
        "lower_bound": round(bound, 4),
        "confidence": 1 - _FAILURE,
        "trials": trials,
        "seed": seed,
        "consistent": bound <= float(epsilon),
    }


def audit_text(record: dict[str, Any]) -> str:
    """Return the result for a person."""
    claim = f"claims {record['claimed']}" if record["claimed"] else "makes no claim"
    claim += ", WHICH IS FALSE" if record["claimed"] and not record["consistent"] else ""
    return (
        f"{record['mechanism']}: epsilon is at least {record['lower_bound']} ({100 * record['confidence']:.1f} % "
        f"confidence, {record['trials']} trials a side); it {claim}"
    )


def _pairs(name: str, epsilon: Decimal) -> list[Pair]:
    """Return the worst neighbours: black images, and the same with a block, a pixel, or one channel of a pixel white.

    A whole block in every channel meets the sensitivity. One grey pixel leaves the other outputs near zero, where the
    exponential mechanism's normaliser matters most. One channel shows noise that channels share.
    """
    found = []
    for channels, side, bright in ((3, _BLOCK, 3), (1, 1, 1), (3, 1, 1)):
        shape = (channels, 8, 8)
        black = np.zeros(shape, np.uint8)
        white = black.copy()
        white[:bright, :side, :side] = 255
        mechanism = mechanisms.build(name, epsilon, _BLOCK, side**2, Domain(shape))
        found.append((_images(mechanism, black), _images(mechanism, white)))
    return found


def _images(mechanism: mechanisms.Mechanism, image: NDArray[np.uint8]) -> Trials:
    """Return trials on a record that is ``image``, beside one that is black, and on black records in the next batch."""

    def run(count: int, seed: bytes, number: int) -> NDArray[np.float64]:
        records = np.zeros((2 * count, *image.shape), np.uint8)
        after = release.noisy(mechanism, records, seed, 2 * number + 1)[::2]
        records[::2] = image
        now = release.noisy(mechanism, records, seed, 2 * number)
        mine, other = now[::2], now[1::2]
        block, beside, later = (
            x[:, :, :_BLOCK, :_BLOCK].sum(axis=(2, 3), dtype=np.int64) for x in (mine, other, after)
        )
        far = mine[:, :, _BLOCK:, _BLOCK:].sum(axis=(2, 3), dtype=np.int64)
        total = block.sum(axis=1)
        statistics = (
            total,  # log-likelihoods fall with |y - x| in every mechanism here, and |y| - |y - 255| = 2y - 255
            block.min(axis=1),
            block.max(axis=1),
            total - far.sum(axis=1),  # constant where blocks, records, batches or channels share their noise
            total - beside.sum(axis=1),
            total - later.sum(axis=1),
            block[:, 0] - block[:, -1],
            total + beside.sum(axis=1),  # larger where one record moves two outputs
            np.minimum(total, beside.sum(axis=1)),
            np.maximum(total, beside.sum(axis=1)),
        )
        return np.stack(statistics, axis=1).astype(np.float64)

    return run


def _labels(epsilon: Decimal) -> Pair:
    def trial(label: int) -> Trials:
        def run(count: int, seed: bytes, number: int) -> NDArray[np.float64]:
            truth = np.full(count, label, np.int64)
            response = randomised_response(Keystream(seed, "labels", number), truth, _CLASSES, Fraction(epsilon))
            return np.where(response == 1, 1.0, 0.0)[:, None]

        return run

    return trial(0), trial(1)


def lower_bound(pairs: Sequence[Pair], trials: int, seed: int) -> float:
    """Return the bound from samplers of statistics on neighbours, nats; 0 when nothing distinguishes them."""
    best, chosen = 0.0, (0, 0, 0.0, True, False)
    for number, pair in enumerate(pairs):
        lows, highs = (_collect(run, trials // 2, f"{seed} choose {number} {side}") for side, run in enumerate(pair))
        for statistic, (low, high) in enumerate(zip(lows.T, highs.T, strict=True)):
            for threshold, above, swapped in product(_candidates(low, high), (True, False), (True, False)):
                bound = (
                    _ratio(high, low, threshold, above=above) if swapped else _ratio(low, high, threshold, above=above)
                )
                if bound > best:
                    best, chosen = bound, (number, statistic, threshold, above, swapped)
    number, statistic, threshold, above, swapped = chosen
    low, high = (
        _collect(run, trials // 2, f"{seed} measure {side}")[:, statistic] for side, run in enumerate(pairs[number])
    )
    low, high = (high, low) if swapped else (low, high)
    return max(0.0, _ratio(low, high, threshold, above=above))


def _candidates(*values: NDArray[np.float64]) -> list[float]:
    found: list[float] = np.unique(np.quantile(np.concatenate(values), np.linspace(0, 1, 101))).tolist()
    return found


def _collect(run: Trials, count: int, purpose: str) -> NDArray[np.float64]:
    key = hashlib.sha256(f"p3vc audit {purpose}".encode()).digest()
    return np.concatenate([run(min(_BATCH, count - i), key, i // _BATCH) for i in range(0, count, _BATCH)])


def _ratio(low: NDArray[np.float64], high: NDArray[np.float64], threshold: float, *, above: bool) -> float:
    """Bound ln(P(S | a)/P(S | b)) below: S is what lies beyond the threshold, a the neighbour on that side."""
    from scipy.special import betaincinv  # noqa: PLC0415

    likely, unlikely = (high >= threshold, low >= threshold) if above else (low <= threshold, high <= threshold)
    hits, misses = int(likely.sum()), int(unlikely.sum())
    if not hits:
        return 0.0
    p = betaincinv(hits, likely.size - hits + 1, _FAILURE / 2)
    q = 1.0 if misses == unlikely.size else betaincinv(misses + 1, unlikely.size - misses, 1 - _FAILURE / 2)
    return float(np.log(p / q))
