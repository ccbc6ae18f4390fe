"""What changes between two sets of objects: paths, epsilon and networks."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from testbed.rules.context import Context
from testbed.rules.privacy_budget import accounts

Path = tuple[str, str, str, str]  # from, to, verdict, via


@dataclass(frozen=True)
class Difference:
    """Added and removed: paths between clients, epsilon by dataset, and NICs on networks."""

    paths_added: tuple[Path, ...]
    paths_removed: tuple[Path, ...]
    epsilon: tuple[tuple[str, Decimal, Decimal], ...]  # dataset or its training, base, head; where they differ
    nics_added: tuple[tuple[str, str], ...]  # pod, subnet
    nics_removed: tuple[tuple[str, str], ...]

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.paths_added or self.paths_removed or self.epsilon or self.nics_added or self.nics_removed)

    def inverse(self) -> Difference:
        """The same difference seen from the other side."""
        swapped = tuple((dataset, head, base) for dataset, base, head in self.epsilon)
        return Difference(self.paths_removed, self.paths_added, swapped, self.nics_removed, self.nics_added)


def _paths(context: Context) -> set[Path]:
    found = context.reachability.found.values()
    return {(p.source.name, p.target.name, p.verdict, p.via or "") for p in found}


def _nics(context: Context) -> set[tuple[str, str]]:
    return {(p.pod.name, p.subnet.name) for p in context.model.ports if p.pod.client or p.pod.role}


def _epsilons(context: Context) -> dict[str, Decimal]:
    """Epsilon by dataset and, of it, by training."""
    found = {}
    for account in accounts(context)[0]:
        found[account.dataset] = account.epsilon
        if account.training:
            found[f"{account.dataset}, of which training"] = account.training.epsilon
    return found


def difference(base: Context, head: Context) -> Difference:
    """Compare two contexts, each under its own policy configuration."""
    one, two = _paths(base), _paths(head)
    before, after = _epsilons(base), _epsilons(head)
    zero = Decimal(0)
    changed = [(d, before.get(d, zero), after.get(d, zero)) for d in sorted({*before, *after})]
    nics, more = _nics(base), _nics(head)
    return Difference(
        tuple(sorted(two - one)),
        tuple(sorted(one - two)),
        tuple((d, b, h) for d, b, h in changed if b != h),
        tuple(sorted(more - nics)),
        tuple(sorted(nics - more)),
    )
