"""What a ledger and a planned release look like to a person and to ``testbed ledger``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract.decimals import plain
from p3vc import mechanisms
from p3vc.account import Account
from p3vc.expected import expected_error
from p3vc.ledger import Ledger
from p3vc.register import recognise
from p3vc.release import compatible
from p3vc.request import Request
from p3vc.tightest import tightest


def ledger_report(folder: Path, dataset: str | None) -> dict[str, Any]:
    """Return one dataset's account: budget, spent, remaining, claims and the raw entries; decimals are strings.

    Raises:
        BadInputError: none, several and none named, or a broken chain.
    """
    account = Ledger(folder).choose(dataset)
    figure, method = tightest(account.charges, account.terms.composition, account.terms.delta)
    return {
        "dataset": account.dataset,
        **account.terms.as_json(),
        "spent": plain(account.spent),
        "remaining": plain(account.remaining),
        "delta_spent": plain(account.delta_spent),
        "tightest": {"epsilon": plain(figure), "method": method},
        "invariants": account.invariants.as_json(),
        "closed": account.closed.as_json() if account.closed else None,
        "decisions": [one.as_json() for one in account.decisions],
        "claims": {name: _claim(account, name) for name in account.claims},
        "head": account.chain.head,
        "entries": account.chain.entries,
    }


def _claim(account: Account, name: str) -> dict[str, Any]:
    claim = account.claims[name]
    shown = {
        "epsilon": plain(claim.charge.epsilon),
        "status": claim.status,
        "mechanism": claim.parameters["mechanism"],
        "part": claim.charge.part,
    }
    if claim.charge.rho is None:
        return shown
    noise = {"delta": plain(claim.charge.delta), "rho": plain(claim.charge.rho)}
    return {**shown, **noise, **{key: claim.parameters[key] for key in ("purpose", "grant", "rounds")}}


def ledger_text(record: dict[str, Any]) -> str:
    """Return the table for a person."""
    rule = record["composition"] + (f" at delta {record['delta']}" if record["delta"] else "")
    lines = [
        f"dataset    {record['dataset']}",
        f"budget     {record['budget']} ({rule})",
        f"spent      {record['spent']}   (tightest valid figure: {record['tightest']['epsilon']}, "
        f"{record['tightest']['method']})",
        f"remaining  {record['remaining']}",
    ]
    if any("rho" in claim for claim in record["claims"].values()):
        bound = f" of {record['delta']}" if record["composition"] == "basic" else ", which does not add under this rule"
        lines.append(f"delta      {record['delta_spent']}{bound}")
    if record["neighbourhood"]:
        lines.append(f"protects   at least {record['neighbourhood']} pixels of a record")
    for one in record["decisions"]:
        did = {"raise": "raised the budget", "close": "closed", "begin": "ended, for a new dataset"}[one["action"]]
        lines.append(f"owner      {did} on {one['time']}: {one['who']}, {one['why']}")
    for name, claim in record["claims"].items():
        epsilon = f"epsilon {claim['epsilon']}"
        if "rho" in claim:
            epsilon += f" at delta {claim['delta']} for {claim['rounds']} rounds of {claim['purpose']}"
        lines.append(f"  {name}: {epsilon}, {claim['mechanism']}, {claim['status']}")
    return "\n".join(lines)


def estimate(data: Path, kind: str, folder: Path, request: Request, workers: int | None) -> dict[str, Any]:
    """Return what a release would cost and its expected error, without spending."""
    source, account = recognise(data, kind, Ledger(folder), workers=workers)
    compatible(request, source, account)
    domain = account.invariants.domain
    mechanism = mechanisms.build(request.mechanism, request.epsilon, request.block, request.neighbourhood, domain)
    after = account.after(request.charge(account))
    private = mechanism.private
    return {
        "dataset": account.dataset,
        "mechanism": mechanism.name,
        "epsilon": plain(request.total),
        "sensitivity": mechanism.sensitivity if private else None,
        "scale": str(mechanism.scale),
        "expected_error": expected_error(mechanism.name, float(mechanism.scale), request.block, domain)
        if private
        else None,
        "budget": plain(account.terms.budget),
        "spent": plain(account.spent),
        "spent_after": plain(after),
        "would_exceed": after > account.terms.budget,
    }


def estimate_text(record: dict[str, Any]) -> str:
    """Return the same for a person."""
    error = record["expected_error"]
    noise = (
        "unbounded loss, no DP claim"
        if error is None
        else (
            f"expected error {error['clamped']:.1f} of 255 grey levels a pixel ({error['unclamped']:.1f} before "
            "clamping)"
        )
    )
    verdict = "REFUSED: over budget" if record["would_exceed"] else "admitted"
    return (
        f"{record['mechanism']} at epsilon {record['epsilon']}: {noise}\n"
        f"spent {record['spent']} → {record['spent_after']} of {record['budget']}: {verdict}"
    )
