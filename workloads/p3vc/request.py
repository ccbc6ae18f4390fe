"""What a claim asks for, and what it is charged."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from contract.composition import Charge
from contract.decimals import INFINITE, plain
from p3vc.account import Account
from p3vc.partition import Partition

ALGORITHM = 1  # raised when the same seed would give other bytes, so that no claim is finished by another algorithm


@dataclass(frozen=True)
class Request:
    """What a claim asks for.

    Attributes:
        claim: id in the ledger.
        epsilon: of the images.
        block: pixelisation block side, pixels.
        neighbourhood: pixels in which neighbouring images may differ.
        label_epsilon: of the labels; None where they are public.
        disjoint: assertion that no person has records in two parts.
        formerly: the id that an earlier version gave this very claim; a ledger that has it goes on with it.
    """

    claim: str
    mechanism: str
    epsilon: Decimal
    block: int
    neighbourhood: int
    label_epsilon: Decimal | None = None
    partition: Partition | None = None
    disjoint: str | None = None
    accept_no_claim: bool = False
    formerly: str | None = None

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
        if self.partition is None or self.disjoint is None:
            return Charge(self.total)
        return Charge(self.total, family=self.partition.family(account.invariants.classes), part=self.partition.index)
