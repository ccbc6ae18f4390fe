"""What a claim asks for, and what it is charged."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from p3vc.account import Account, plain
from p3vc.accountant import INFINITE, Charge
from p3vc.partition import Partition

ALGORITHM = 1  # raised when the same seed would give other bytes, so that no claim is finished by another algorithm


@dataclass(frozen=True)
class Request:
    """What a claim asks for."""

    claim: str
    mechanism: str
    epsilon: Decimal
    block: int
    neighbourhood: int
    label_epsilon: Decimal | None = None  # None: labels are public
    partition: Partition | None = None
    disjoint: str | None = None
    accept_no_claim: bool = False

    @property
    def total(self) -> Decimal:
        """What one record loses: features and label in sequence; infinite without a claim."""
        return INFINITE if self.mechanism == "paper" else self.epsilon + (self.label_epsilon or Decimal(0))

    def parameters(self, account: Account) -> dict[str, Any]:
        """Return everything that decides the released bytes and their cost, but the seed."""
        part = self.partition
        return {
            "algorithm": ALGORITHM,
            "dataset": account.dataset,
            "mechanism": self.mechanism,
            "epsilon": plain(self.epsilon),
            "block": self.block,
            "neighbourhood": self.neighbourhood,
            "label_epsilon": None if self.label_epsilon is None else plain(self.label_epsilon),
            "partition": None if part is None else part.as_json(account.invariants.classes),
        }

    def charge(self, account: Account) -> Charge:
        """Return what the ledger is charged: in parallel only under the recorded assertion."""
        return Charge(self.total, *parallel(self.partition, self.disjoint, account))


def parallel(partition: Partition | None, disjoint: str | None, account: Account) -> tuple[str | None, int | None]:
    """Return the family and part that a claim is charged in: none but under the assertion, which is then recorded."""
    if partition is None or disjoint is None:
        return None, None
    return partition.family(account.invariants.classes), partition.index
