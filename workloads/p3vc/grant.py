"""Charging a dataset for a training run whose model gets Gaussian noise on the aggregator.

A grant belongs to the release that the client trains on: which records it is charged for, and in which part of which
partition, is what the ledger recorded of that release.

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

from contract import gaussian
from contract.composition import Charge
from contract.decimals import plain
from contract.files import TRAINING
from p3vc import output
from p3vc.account import Account, Claim
from p3vc.chain import replace
from p3vc.errors import BadInputError
from p3vc.ledger import Ledger
from p3vc.partition import Partition
from p3vc.register import recognise

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
        partition: the part that the release is expected to hold; None where nothing is expected of it.
        disjoint: the assertion that the release is expected to carry; None where nothing is expected of it.
    """

    claim: str
    grant: str
    epsilon: Decimal
    delta: Decimal
    rounds: int
    clipping_norm: float
    partition: Partition | None = None
    disjoint: str | None = None

    def parameters(self, account: Account, released: Claim) -> dict[str, Any]:
        """Return everything that the charge stands for."""
        return {
            "mechanism": "gaussian",
            "purpose": "training",
            "dataset": account.dataset,
            "grant": self.grant,
            "epsilon": plain(self.epsilon),
            "delta": plain(self.delta),
            "rounds": self.rounds,
            "clipping_norm": self.clipping_norm,
            "partition": released.parameters["partition"],
        }

    def charge(self, released: Claim) -> Charge:
        """Return what the ledger is charged: in parallel only where the release is."""
        part = released.charge
        return Charge.of_run(self.grant, self.epsilon, self.delta, family=part.family, part=part.part)

    def as_json(self, account: Account, release: str, *, quote: dict[str, Any]) -> dict[str, Any]:
        """Return the content of ``training.json``; nothing in it depends on a record.

        Args:
            account: of the dataset.
            release: the claim of the release that the client trains on.
            quote: what the ledger says of its state (``Ledger.quote``).
        """
        partition = account.claims[release].parameters["partition"]
        by_label = partition is not None and partition["partitioner"] == "dirichlet"
        return {
            "grant": self.grant,
            "claim": self.claim,
            "dataset": account.dataset,
            "release": release,
            "partition": partition,
            "epsilon": plain(self.epsilon),
            "delta": plain(self.delta),
            "rounds": self.rounds,
            "clipping_norm": self.clipping_norm,
            "noise_multiplier": gaussian.noise_multiplier(self.epsilon, self.delta, self.rounds),
            "relation": _RELATION_OF_DIRICHLET if by_label else _RELATION,
            "ledger": quote,
        }


def grant(
    data: Path, kind: str, out: Path, folder: Path, training: Training, *, workers: int | None = None
) -> tuple[dict[str, Any], bool]:
    """Charge a dataset for a training run, once a claim; returns the record and whether the charge is new.

    Raises:
        BadInputError: broken data or ledger, a dataset that is not registered, a claim id that stands for something
            else, or no whole release of this dataset at ``out``.
        RefusedError: over the budget or the registered delta. Nothing was written.
    """
    book = Ledger(folder)
    _, account = recognise(data, kind, book, workers=workers)
    with book.exclusively(training.claim):
        book.compare(out)
        release = _release(out, book, account, workers)
        released = account.claims[release]
        _expected(training, released, account)
        account = book.admit(
            account.dataset,
            training.claim,
            training.parameters(account, released),
            training.charge(released),
            released.disjoint,
        )
        new = account.claims[training.claim].status == "reserved"
        account = book.settle(account.dataset, training.claim)
        content = training.as_json(account, release, quote=book.quote(account, training.claim))
        text = json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"
        path = out / TRAINING
        if not path.exists() or path.read_bytes() != text:
            replace(path, text, _MODE)
        account = book.complete(account.dataset, training.claim, hashlib.sha256(text).hexdigest())
    state = {"budget": account.terms.budget, "spent": account.spent, "remaining": account.remaining}
    record = {**content, "composition": account.terms.composition, "delta_spent": plain(account.delta_spent)}
    return {**record, **{key: plain(value) for key, value in state.items()}}, new


def _release(out: Path, book: Ledger, account: Account, workers: int | None) -> str:
    """Return the claim of the whole release at ``out``, as the ledger knows it.

    Raises:
        BadInputError: there is none, it is of another dataset, or it is not what the ledger recorded.
    """
    try:
        manifest, digest = output.verify(out, None, workers)
    except BadInputError as error:
        raise BadInputError(f"--out {out}: a grant belongs to the release there, and there is none: {error}") from None
    claim = str(manifest.get("claim"))
    state = account.claims.get(claim)
    if manifest.get("dataset") != account.dataset or state is None:
        raise BadInputError(
            f"--out {out}: holds release {claim} of dataset {manifest.get('dataset')}, and --ledger {book.folder} "
            f"charges {account.dataset}: grant each release from the ledger that it was charged to"
        )
    if state.status != "complete" or state.manifest != digest or state.charge.rho is not None:
        raise BadInputError(
            f"--out {out}: its manifest is not the one that {book.folder} recorded for claim {claim}; run p3vc release "
            "again, which costs nothing more"
        )
    return claim


def _expected(training: Training, released: Claim, account: Account) -> None:
    """Compare what the options say of the release with what it is.

    Raises:
        BadInputError: they differ.
    """
    if training.partition is not None:
        asked, found = training.partition.as_json(account.invariants.classes), released.parameters["partition"]
        if asked != found:
            shown = "the whole dataset" if found is None else _part(found)
            raise BadInputError(
                f"--partition: says {_part(asked)}, and the release is of {shown}, which is what the client trains on; "
                "leave --partition and --partitioner, --alpha and --seed out"
            )
    if training.disjoint is not None and training.disjoint != released.disjoint:
        raise BadInputError(
            "--disjoint: is not what was asserted for the release, which decides how the grant is charged; leave it out"
        )


def _part(partition: dict[str, Any]) -> str:
    return ", ".join(f"{key} {partition[key]}" for key in ("index", "count", "partitioner", "alpha", "seed"))
