"""An empirical lower bound on epsilon, from a likelihood-ratio test between two neighbours.

A mechanism runs many times on a record and on its worst neighbour. For an event S, ε-DP demands P(S | x) <= e^ε P(S
| x'), so ln(P(S | x)/P(S | x')) is a lower bound on ε. The event thresholds the statistic that orders outputs by
likelihood ratio; threshold and direction are chosen on one half of the trials, and Clopper-Pearson bounds on the
other half make the result hold with 99.9 % confidence (Jagielski, Ullman, Oprea, NeurIPS 2020). Above the claim, the
claim is false; below it, nothing is proved. The trials see what a client sees: final uint8 images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p3vc import mechanisms
from p3vc.keystream import Keystream
from p3vc.sampler import randomised_response
from p3vc.sensitivity import Domain

_SHAPE, _BLOCK, _CLASSES = (3, 8, 8), 4, 10
_PIXELS = _BLOCK**2
_FAILURE = 0.001
_BATCH = 4096
Trials = Callable[[int, Keystream], NDArray[np.float64]]


def audit(name: str, epsilon: Decimal, trials: int, seed: int) -> dict[str, Any]:
    """Return the measured lower bound on the epsilon of a mechanism.

    Args:
        name: a mechanism, or ``labels`` for randomised response.
        epsilon: what is claimed.
        trials: runs on each of the two neighbours.
        seed: of the trials; the same seed gives the same result.
    """
    if name == "labels":
        pair = _labels(epsilon)
    else:
        mechanism = mechanisms.build(name, epsilon, _BLOCK, _PIXELS, Domain(_SHAPE))
        pair = _images(mechanism)
    bound = lower_bound(pair, trials, seed)
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
    return (
        f"{record['mechanism']}: epsilon is at least {record['lower_bound']} ({100 * record['confidence']:.1f} % "
        f"confidence, {record['trials']} trials a side); it {claim}"
    )


def _images(mechanism: mechanisms.Mechanism) -> tuple[Trials, Trials]:
    """Return trials on a black image and on its neighbour with one white block: all of m pixels, in every channel."""
    black = np.zeros(_SHAPE, np.uint8)
    white = black.copy()
    white[:, :_BLOCK, :_BLOCK] = 255
    changed = white > 0

    def trial(image: NDArray[np.uint8]) -> Trials:
        def run(count: int, stream: Keystream) -> NDArray[np.float64]:
            released = mechanism.release(np.broadcast_to(image, (count, *_SHAPE)), stream)
            # Log-likelihoods fall with |y - x| in every mechanism here, and |y| - |y - 255| = 2y - 255.
            statistic: NDArray[np.float64] = released[:, changed].sum(axis=1, dtype=np.float64)
            return statistic

        return run

    return trial(black), trial(white)


def _labels(epsilon: Decimal) -> tuple[Trials, Trials]:
    def trial(label: int) -> Trials:
        def run(count: int, stream: Keystream) -> NDArray[np.float64]:
            truth = np.full(count, label, np.int64)
            response = randomised_response(stream, truth, _CLASSES, Fraction(epsilon))
            return np.where(response == 1, 1.0, 0.0)

        return run

    return trial(0), trial(1)


def lower_bound(pair: tuple[Trials, Trials], trials: int, seed: int) -> float:
    """Return the bound from two samplers of a statistic, nats; 0 when nothing distinguishes them."""
    key = hashlib.sha256(f"p3vc audit {seed}".encode()).digest()
    (low, high), (final_low, final_high) = (
        [_collect(run, trials // 2, key, f"{half} {side}") for side, run in enumerate(pair)]
        for half in ("choose", "measure")
    )
    best, threshold, upper = 0.0, 0.0, True
    for candidate in np.unique(np.quantile(np.concatenate([low, high]), np.linspace(0, 1, 201))):
        for above in (True, False):
            bound = _ratio(low, high, float(candidate), above=above)
            if bound > best:
                best, threshold, upper = bound, float(candidate), above
    return max(0.0, _ratio(final_low, final_high, threshold, above=upper))


def _collect(run: Trials, count: int, key: bytes, purpose: str) -> NDArray[np.float64]:
    starts = range(0, count, _BATCH)
    return np.concatenate([run(min(_BATCH, count - i), Keystream(key, purpose, i)) for i in starts])


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
