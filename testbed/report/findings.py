"""Everything a check finds, ready for any format."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.reachability.verdicts import Pair, Result
from testbed.rules import judge, privacy_budget
from testbed.rules.context import Context
from testbed.rules.violation import Violation

LISTED = 100  # clients up to which isolated pairs are listed too


@dataclass(frozen=True)
class Findings:
    """Violations, verdicts and privacy accounts of a set of objects."""

    violations: tuple[Violation, ...]
    reachability: Result | None
    accounts: tuple[privacy_budget.Account, ...]

    def pairs(self) -> list[Pair]:
        """Every pair up to 100 clients; above, those not isolated."""
        if self.reachability is None:
            return []
        clients = {pod.client for pod in self.reachability.model.pods if pod.client}
        if len(clients) <= LISTED:
            return list(self.reachability.pairs())
        found = self.reachability.found.values()
        return sorted(found, key=lambda p: (p.source.name, p.target.name))


def find(context: Context) -> Findings:
    """Judge a context's objects; a part that breaks is reported as a violation and left out."""
    violations = tuple(judge(context))
    broken = {v.message for v in violations if v.rule == "fail-closed" and v.resource == "testbed"}
    if broken:
        return Findings(violations, None, ())
    return Findings(violations, context.reachability, tuple(privacy_budget.accounts(context)[0]))
