"""Charging a dataset for a training run whose model gets Gaussian noise on the aggregator.

A grant reads no record: it charges the ledger and leaves ``training.json`` beside the released data, without which a
client does not train under noise. The charge is for good before that file is visible. The file is the same however
often it is written, so writing it again costs nothing; that one grant serves one run only is the aggregator's to keep.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from p3vc import gaussian
from p3vc.account import Account, plain
from p3vc.accountant import Charge
from p3vc.chain import replace
from p3vc.ledger import Ledger
from p3vc.output import MANIFEST
from p3vc.partition import Partition
from p3vc.register import recognise
from p3vc.request import parallel

GRANT = "training.json"
_MODE = 0o640
_MOVES = (
    "its clipped update moves by at most 2 clipping norms, and every round's mean over n clients has noise of standard "
    "deviation noise_multiplier x clipping_norm / n. Only the models have that noise: loss, accuracy, train-loss and "
    "counts, which clients report beside them, have none, and this claim does not cover them"
)
_RELATION = f"any of the client's records replaced, one or all: {_MOVES}"
# A record with another label would be another client's, and two updates would move: labels stay, as for the release.
_RELATION_OF_DIRICHLET = (
    "any of the client's records replaced, one or all, each by one of the same label; labels are public, for by them "
    f"records are dealt to clients: {_MOVES}"
)


@dataclass(frozen=True)
class Training:
    """What a grant is for.

    Attributes:
        claim: id in the ledger.
        grant: names the run, everything that would make it another one included; the same for all its clients.
        epsilon: of the whole run, at ``delta``.
        delta: in (0, 1).
        rounds: models that the run publishes.
        clipping_norm: L2 norm to which a client's update is clipped.
        partition: the part of the dataset that the client trains on.
        disjoint: assertion that no person has records in two parts.
    """

    claim: str
    grant: str
    epsilon: Decimal
    delta: Decimal
    rounds: int
    clipping_norm: float
    partition: Partition | None = None
    disjoint: str | None = None

    def parameters(self, account: Account) -> dict[str, Any]:
        """Return everything that the charge stands for."""
        part = self.partition
        return {
            "mechanism": "gaussian",
            "purpose": "training",
            "dataset": account.dataset,
            "grant": self.grant,
            "epsilon": plain(self.epsilon),
            "delta": plain(self.delta),
            "rounds": self.rounds,
            "clipping_norm": self.clipping_norm,
            "partition": None if part is None else part.as_json(account.invariants.classes),
        }

    def charge(self, account: Account) -> Charge:
        """Return what the ledger is charged: in parallel only under the recorded assertion."""
        rho = gaussian.rho(self.epsilon, self.delta)
        return Charge(self.epsilon, *parallel(self.partition, self.disjoint, account), self.delta, rho)

    def as_json(self, account: Account) -> dict[str, Any]:
        """Return the content of ``training.json``; nothing in it depends on a record."""
        by_label = self.partition is not None and self.partition.partitioner == "dirichlet"
        return {
            "grant": self.grant,
            "claim": self.claim,
            "dataset": account.dataset,
            "epsilon": plain(self.epsilon),
            "delta": plain(self.delta),
            "rounds": self.rounds,
            "clipping_norm": self.clipping_norm,
            "noise_multiplier": gaussian.noise_multiplier(self.epsilon, self.delta, self.rounds),
            "relation": _RELATION_OF_DIRICHLET if by_label else _RELATION,
        }


def grant(
    data: Path, kind: str, out: Path, folder: Path, training: Training, *, workers: int | None = None
) -> tuple[dict[str, Any], bool]:
    """Charge a dataset for a training run, once a claim; returns the record and whether the charge is new.

    Raises:
        BadInputError: broken data or ledger, a dataset that is not registered, or a claim id that stands for something
            else.
        RefusedError: over the budget or the registered delta. Nothing was written.
    """
    book = Ledger(folder)
    _, account = recognise(data, kind, book, workers=workers)
    content = training.as_json(account)
    text = json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
    with book.exclusively(training.claim):
        book.compare(out / MANIFEST)
        account = book.admit(
            account.dataset,
            training.claim,
            training.parameters(account),
            training.charge(account),
            training.disjoint,
        )
        new = account.claims[training.claim].status == "reserved"
        book.settle(account.dataset, training.claim)
        path = out / GRANT
        if not path.exists() or path.read_bytes() != text:
            out.mkdir(parents=True, exist_ok=True)
            replace(path, text, _MODE)
        account = book.complete(account.dataset, training.claim, hashlib.sha256(text).hexdigest())
    state = {"budget": account.terms.budget, "spent": account.spent, "remaining": account.remaining}
    record = {**content, "composition": account.terms.composition, "delta_spent": plain(account.delta_spent)}
    return {**record, **{key: plain(value) for key, value in state.items()}}, new
