"""Reports for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from contract.decimals import plain
from testbed.compare import Difference
from testbed.reachability.explain import Explanation
from testbed.report.findings import Findings
from testbed.rules.privacy_budget import Account
from testbed.rules.violation import Violation


def one(violation: Violation) -> str:
    """A violation: where, what, the witness step by step, and the repair."""
    where = f"{violation.resource} {violation.field}".strip()
    lines = [f"{where}: {violation.message}"]
    lines += [f"    {line}" for line in violation.witness]
    if violation.repair:
        lines.append(f"  repair: {violation.repair}")
    return "\n".join(lines)


def findings(found: Findings) -> str:
    """Violations, then what was proved."""
    lines = []
    for violation in found.violations:
        lines.append(f"[{violation.rule}] {one(violation)}")
        if violation.source:
            lines.append(f"  at: {violation.source}")
        lines.append("")
    if found.reachability is not None:
        result = found.reachability
        more = "" if result.complete else " (search ended early)"
        open_ = len(result.found)
        lines.append(f"{result.isolated} of {result.total} pairs of pods of different clients are isolated{more}")
        if open_:
            lines.append(f"{open_} are not")
    lines += [line for account in found.accounts for line in _account(account)]
    count = len(found.violations)
    lines.append("no violation" if not count else f"{count} violation{'s' if count > 1 else ''}")
    return "\n".join(lines)


def _account(account: Account) -> Iterator[str]:
    yield f"dataset {account.dataset}: epsilon {plain(account.epsilon)} of {plain(account.budget)}"
    if account.training:
        yield f"  of which training: epsilon {plain(account.training.epsilon)} at delta {plain(account.training.delta)}"


def explanation(found: Explanation) -> str:
    """The whole chain of one pair."""
    return "\n".join(_explain(found))


def _explain(found: Explanation) -> Iterator[str]:
    pair = found.pair
    via = f" ({pair.via})" if pair.via else ""
    yield f"{pair.source.name} -> {pair.target.name}: {pair.verdict}{via}"
    for hop in pair.path:
        yield f"  {hop.at}: {hop.why}"
    if found.repairs:
        yield "smallest repair:"
        yield from (f"  {edit}" for edit in found.repairs)
    if found.blocks:
        yield "what blocks it:"
        yield from (f"  {hop.at}: {hop.why}" for hop in found.blocks)
    if pair.verdict == "isolated":
        yield "single changes that would open it:" if found.openings else "no single change would open it"
        for opening in found.openings:
            yield f"  {opening.edit}: {opening.verdict}{f' ({opening.via})' if opening.via else ''}"


def difference(found: Difference) -> str:
    """Paths, epsilon and NICs added (+) and removed (-)."""
    if found.empty:
        return "no difference"
    lines = []
    for sign, paths in (("+", found.paths_added), ("-", found.paths_removed)):
        lines += [f"{sign} path {s} -> {t}: {verdict}{f' ({via})' if via else ''}" for s, t, verdict, via in paths]
    for dataset, base, head in found.epsilon:
        sign = "+" if head > base else ""
        lines.append(f"~ epsilon of {dataset}: {plain(base)} -> {plain(head)} ({sign}{plain(head - base)})")
    for sign, nics in (("+", found.nics_added), ("-", found.nics_removed)):
        lines += [f"{sign} NIC of {pod} on {subnet}" for pod, subnet in nics]
    return "\n".join(lines)
