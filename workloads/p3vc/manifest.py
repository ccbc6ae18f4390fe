"""The manifest of a release, and the short record of it."""

from __future__ import annotations

from typing import Any

from contract.decimals import plain
from p3vc import mechanisms
from p3vc.account import Account
from p3vc.expected import expected_error
from p3vc.invariants import Violations
from p3vc.keystream import NAME as KEYSTREAM
from p3vc.request import Request
from p3vc.sensitivity import Relation

# Who sees any of these sees a function of the labels in clear.
_NOT_COVERED = (
    "the labels, how many records have which, and what is computed from them: loss, accuracy and train-loss of whoever "
    "trains on the release"
)


def manifest(
    request: Request,
    mechanism: mechanisms.Mechanism,
    account: Account,
    violations: Violations,
    count: int,
    *,
    quote: dict[str, Any],
) -> dict[str, Any]:
    """Describe a release: what it protects, how, at what cost, and what stays public.

    ``quote`` is what the ledger says of its state (``Ledger.quote``).

    Nothing in the description depends on the raw data but through the released arrays and the public invariants.
    """
    private_labels = request.label_epsilon is not None
    paper = not mechanism.private
    return {
        "format": 2,  # 1: an array had one hash of all its elements
        "claim": request.claim,
        "parameters": account.claims[request.claim].parameters,
        "statement": _statement(request, mechanism),
        "unit_of_privacy": "one record",
        "relation": None if paper else Relation(request.neighbourhood).describe(private_labels=private_labels),
        "mechanism": mechanism.name,
        "sensitivity": None if paper else str(mechanism.sensitivity),
        "sensitivity_of": None if paper else "L1 of a record's block sums, grey levels",
        "scale": str(mechanism.scale),
        "granularity": "integers" if mechanism.private else "floating point",
        "noise": f"discrete, exact inversion over {KEYSTREAM}" if mechanism.private else "NumPy PCG64",
        "seed_sha256": account.claims[request.claim].commitment,
        "epsilon": plain(request.total),
        "epsilon_features": plain(request.epsilon) if mechanism.private else None,
        "epsilon_labels": None if request.label_epsilon is None else plain(request.label_epsilon),
        "not_covered": None if private_labels and not paper else _NOT_COVERED,
        "labels": "k-ary randomised response" if private_labels else "public, outside the claim",
        "expected_error": None
        if paper
        else expected_error(mechanism.name, float(mechanism.scale), request.block, account.invariants.domain),
        "dataset": account.dataset,
        "partition": account.claims[request.claim].parameters["partition"],
        "disjoint": request.disjoint,
        "public": {"invariants": account.invariants.as_json(), "left_out": violations.as_json(), "released": count},
        "ledger": {**account.terms.as_json(), **quote},
    }


def _statement(request: Request, mechanism: mechanisms.Mechanism) -> str:
    if not mechanism.private:
        return "no DP claim: the noise scale is the image's own noised mean, so the likelihood ratio is unbounded"
    if request.label_epsilon is not None:
        return f"{plain(request.total)}-differential privacy (pure) for one record's features and label"
    return (
        f"{plain(request.total)}-differential privacy (pure) for one record's features, given the label; no claim "
        f"covers {_NOT_COVERED}"
    )


def record(content: dict[str, Any], digest: str, account: Account) -> dict[str, Any]:
    """Return the record for the termination message (``docs/contract.md``, Records)."""
    return {
        "claim": content["claim"],
        "dataset": account.dataset,
        "client_records": content["public"]["released"],
        "mechanism": content["mechanism"],
        "epsilon": content["epsilon"],
        "sensitivity": content["sensitivity"],
        "scale": content["scale"],
        "composition": account.terms.composition,
        "budget": plain(account.terms.budget),
        "spent": plain(account.spent),
        "remaining": plain(account.remaining),
        "manifest": f"sha256:{digest}",
    }
