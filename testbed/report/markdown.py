"""Reports for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from contract.decimals import plain
from testbed.compare import Difference
from testbed.report.findings import Findings
from testbed.rules.privacy_budget import Account
from testbed.rules.violation import Violation

UNFOLDED = 14  # lines


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """A Markdown table."""
    names = list(head)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return lines + [f"| {' | '.join(_cell(c) for c in row)} |" for row in rows]


def folded(summary: str, lines: list[str]) -> list[str]:
    """Long lines behind a summary that a click opens; short ones as they are."""
    if len(lines) <= UNFOLDED:
        return lines
    return [f"<details><summary>{summary}</summary>", "", *lines, "", "</details>"]


def violations(found: Iterable[Violation]) -> str:
    """Each violation with its witness and repair."""
    lines: list[str] = []
    for v in found:
        lines += [f"- **{v.rule}** `{f'{v.resource} {v.field}'.strip()}`: {_cell(v.message)}"]
        if v.witness:
            lines += ["", "  ```", *(f"  {line}" for line in v.witness), "  ```", ""]
        if v.repair:
            lines.append(f"  Repair: {_cell(v.repair)}")
    return "\n".join(lines)


def findings(found: Findings) -> str:
    """Violations, isolation matrix by client, and privacy accounts."""
    lines = [f"## {len(found.violations)} violations" if found.violations else "## No violation", ""]
    lines += [violations(found.violations)] if found.violations else []
    if found.reachability is not None:
        result = found.reachability
        lines += ["", "### Isolation", "", f"{result.isolated} of {result.total} pairs are isolated.", ""]
        counts = Counter(
            (p.source.client or "", p.target.client or "", p.verdict, p.via or "") for p in result.found.values()
        )
        if counts:
            rows = [(*key, number) for key, number in sorted(counts.items())]
            lines += table(("from", "to", "verdict", "via", "pairs"), rows)
    if found.accounts:
        lines += ["", "### Privacy", "", *privacy(found.accounts)]
    return "\n".join(lines)


def privacy(accounts: Iterable[Account]) -> list[str]:
    """A row for each dataset, and below it one for what training takes of the sum."""
    rows = []
    for a in accounts:
        left = plain(a.budget - a.epsilon)
        rows.append((a.dataset, plain(a.epsilon), plain(a.budget), left, ", ".join(a.mechanisms)))
        if a.training:
            noise = f"gaussian, delta {plain(a.training.delta)}"
            rows.append((f"{a.dataset}, of which training", plain(a.training.epsilon), "", "", noise))
    return table(("dataset", "epsilon", "budget", "left", "mechanism"), rows)


def difference(found: Difference) -> str:
    """Paths and epsilon added or removed."""
    if found.empty:
        return "No path, epsilon or network changes."
    lines: list[str] = []
    if found.paths_added or found.paths_removed:
        rows = [("added", *p) for p in found.paths_added] + [("removed", *p) for p in found.paths_removed]
        lines += ["### Paths between clients", "", *table(("", "from", "to", "verdict", "via"), rows), ""]
    if found.epsilon:
        changes = [(d, plain(b), plain(h), plain(h - b)) for d, b, h in found.epsilon]
        lines += ["### Epsilon", "", *table(("dataset", "base", "head", "change"), changes), ""]
    if found.nics_added or found.nics_removed:
        nics = [("added", *n) for n in found.nics_added] + [("removed", *n) for n in found.nics_removed]
        lines += ["### Networks", "", *folded(f"{len(nics)} NICs", table(("", "pod", "subnet"), nics)), ""]
    return "\n".join(lines).rstrip()
