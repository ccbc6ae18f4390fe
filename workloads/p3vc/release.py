"""Registering a dataset, and releasing it under a claim.

Order of a release: the headers are read and the dataset is recognised (untouched files by their fingerprint, others
by their digest) → the claim is admitted and committed in the ledger → the records are read once, digested and
released → the digest is compared → the output appears → the claim is complete. No record influences any output
before the commit, and an output whose records were not those of the charged dataset never appears.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p3vc import mechanisms, output, pipeline
from p3vc.accountant import INFINITE, Charge
from p3vc.dataset import DatasetDigest, batch_records, leaf
from p3vc.errors import BadInputError, RefusedError
from p3vc.expected import expected_error
from p3vc.formats import Batch, Shape, Source, open_source
from p3vc.invariants import Invariants, Violations, check
from p3vc.keystream import NAME as KEYSTREAM
from p3vc.keystream import Keystream
from p3vc.ledger import Account, Ledger, Terms, plain
from p3vc.partition import Partition
from p3vc.sampler import randomised_response
from p3vc.sensitivity import Relation

MAX_CLASSES = 2**16
ALGORITHM = 1  # raised when the same seed would give other bytes, so that no claim is finished by another algorithm


@dataclass(frozen=True)
class Declared:
    """Invariants as the data owner declares them; None is taken from the data and thereby made public."""

    shape: Shape | None = None
    low: int = 0
    high: int = 255
    classes: int | None = None
    records: int | None = None


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
        if self.partition is None or self.disjoint is None:
            return Charge(self.total)
        return Charge(self.total, self.partition.family(account.invariants.classes), self.partition.index)


def register(
    data: Path, kind: str, ledger: Path, terms: Terms, declared: Declared, *, workers: int | None = None
) -> tuple[Account, bool]:
    """Digest a dataset, check its declared invariants and open its account; returns it and whether it is new.

    Raises:
        BadInputError: the data is broken, violates an invariant, or is registered on other terms.
    """
    source = open_source(data, kind, declared.shape)
    if declared.shape is not None and source.kind != "folder" and source.shape != declared.shape:
        raise BadInputError(f"--shape {declared.shape}: the images of {data} are {source.shape}")
    if declared.records is not None and source.records != declared.records:
        raise BadInputError(f"--records {declared.records}: {data} has {source.records}")
    fingerprint = source.fingerprint()
    provisional = Invariants(source.records, source.shape, declared.classes or MAX_CLASSES, declared.low, declared.high)
    dataset, violations, labels = _survey(source, provisional, workers)
    if terms.on_violation == "refuse":
        violations.refuse()
    invariants = replace(provisional, classes=declared.classes or labels)
    book = Ledger(ledger, create=True)
    new = book.register(dataset, terms, invariants, violations.as_json(), fingerprint)
    return book.accounts()[dataset], new


def _survey(source: Source, invariants: Invariants, workers: int | None) -> tuple[str, Violations, int]:
    """Return a dataset's digest, its violations, and how many labels 0..k-1 its valid records use."""
    digest, violations, labels = DatasetDigest(source.records, source.shape), Violations(), 1

    def work(_: int, batch: Batch) -> tuple[bytes, Violations, int]:
        keep, found = check(invariants, batch.images, batch.labels, batch.malformed)
        return leaf(batch), found, int(batch.labels[keep].max(initial=0)) + 1

    for one, more, most in pipeline.run(source, batch_records(source.shape), work, workers, "digesting"):
        digest.add(one)
        violations.add(more)
        labels = max(labels, most)
    return digest.result(), violations, labels


def recognise(data: Path, kind: str, ledger: Ledger, *, workers: int | None = None) -> tuple[Source, Account]:
    """Open a dataset and find its account.

    Raises:
        BadInputError: broken data, or a dataset that was not registered.
    """
    source = open_source(data, kind)
    fingerprint = source.fingerprint()
    account = ledger.seen(fingerprint)
    if account is None:
        anything = Invariants(source.records, source.shape, MAX_CLASSES)
        dataset, _, _ = _survey(source, anything, workers)
        account = ledger.accounts().get(dataset)
        if account is None:
            raise BadInputError(
                f"--data {data}: dataset {dataset} is not registered in {ledger.folder}; its owner registers it with "
                "p3vc register, once, and fixes its budget"
            )
        ledger.note(dataset, fingerprint)
    if source.kind == "folder" and source.shape != account.invariants.shape:
        source = open_source(data, kind, account.invariants.shape)
    return source, account


def release(
    data: Path, kind: str, out: Path, folder: Path, request: Request, *, workers: int | None = None
) -> tuple[dict[str, Any], bool]:
    """Release a dataset under a claim; returns the record for the termination message and whether it is new.

    Raises:
        BadInputError: broken data or ledger, or a claim id that stands for something else.
        RefusedError: over budget, no DP claim, or a completed claim whose output is gone.
    """
    book = Ledger(folder)
    if request.mechanism == "paper" and not request.accept_no_claim:
        raise RefusedError(
            f"claim {request.claim}: mechanism paper is not differentially private at any epsilon, so it is refused "
            "where a budget is kept. Use laplace or exponential; --accept-no-claim releases anyway and ends every "
            "later claim on this dataset"
        )
    source, account = recognise(data, kind, book, workers=workers)
    mechanism = mechanisms.build(
        request.mechanism, request.epsilon, request.block, request.neighbourhood, account.invariants.domain
    )
    _compatible(request, account)
    with book.exclusively(request.claim):
        account = book.admit(account.dataset, request.claim, request.parameters(account), request.charge(account))
        state = account.claims[request.claim]
        try:
            manifest, digest = output.verify(out, request.claim)
            whole = manifest["seed_sha256"] == state.commitment and state.manifest in (None, digest)
        except (BadInputError, KeyError):
            whole = False
        if state.status == "complete" and not whole:
            raise RefusedError(
                f"claim {request.claim}: was released before and its output is not whole at --out {out} any more. "
                "Its noise was destroyed with its seed, so it cannot be made again at no cost: ask under a new claim "
                "id, which is charged"
            )
        new = not whole
        if new:
            account, seed = book.commit(account.dataset, request.claim)
            manifest, digest = _write(source, out, request, mechanism, account, seed=seed, workers=workers)
        account = book.complete(account.dataset, request.claim, digest)
    return _record(manifest, digest, account), new


def _compatible(request: Request, account: Account) -> None:
    part = request.partition
    if part is not None and part.partitioner == "dirichlet" and request.label_epsilon is not None:
        raise BadInputError(
            "--partitioner dirichlet: which records a part holds depends on the labels, which --labels private "
            "protects; use --partitioner iid or public labels"
        )
    if request.label_epsilon is not None and account.invariants.classes < 2:
        raise BadInputError("--labels private: the dataset has one class only; there is nothing to protect")


def _write(
    source: Source,
    out: Path,
    request: Request,
    mechanism: mechanisms.Mechanism,
    account: Account,
    *,
    seed: bytes,
    workers: int | None,
) -> tuple[dict[str, Any], str]:
    invariants, part = account.invariants, request.partition
    cumulative = part.proportions(invariants.classes) if part else None

    def work(number: int, batch: Batch) -> tuple[bytes, Violations, NDArray[np.uint8], NDArray[np.int64]]:
        digest = leaf(batch)
        keep, violations = check(invariants, batch.images, batch.labels, batch.malformed)
        if part is not None and cumulative is not None:
            inside = np.where((batch.labels >= 0) & (batch.labels < invariants.classes), batch.labels, 0)
            keep &= part.members(number, inside, cumulative)
        images, labels = (batch.images, batch.labels) if keep.all() else (batch.images[keep], batch.labels[keep])
        images = mechanism.release(images, Keystream(seed, "pixels", number))
        if request.label_epsilon is not None:
            stream = Keystream(seed, "labels", number)
            labels = randomised_response(stream, labels, invariants.classes, Fraction(request.label_epsilon))
        return digest, violations, images, labels

    digest, violations, count = DatasetDigest(source.records, source.shape), Violations(), 0
    with output.Output(out, source.shape) as target:
        for one, more, images, labels in pipeline.run(source, batch_records(source.shape), work, workers, "releasing"):
            digest.add(one)
            violations.add(more)
            target.images.append(images)
            target.labels.append(labels)
            count += labels.size
        if digest.result() != account.dataset:
            raise BadInputError(
                f"the data changed under the claim: {account.dataset} was charged and {digest.result()} was read; "
                "nothing was released, and the charge stays because reading had begun"
            )
        manifest = _manifest(request, mechanism, account, violations, count)
        return manifest, target.publish(manifest)


def _manifest(
    request: Request, mechanism: mechanisms.Mechanism, account: Account, violations: Violations, count: int
) -> dict[str, Any]:
    private_labels = request.label_epsilon is not None
    paper = not mechanism.private
    return {
        "format": 1,
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
        "labels": "k-ary randomised response" if private_labels else "public, outside the claim",
        "expected_error": None
        if paper
        else expected_error(mechanism.name, float(mechanism.scale), request.block, account.invariants.domain),
        "dataset": account.dataset,
        "partition": account.claims[request.claim].parameters["partition"],
        "disjoint": request.disjoint,
        "public": {"invariants": account.invariants.as_json(), "left_out": violations.as_json(), "released": count},
        "ledger": {**account.terms.as_json(), "seq": len(account.chain.entries), "head": account.chain.head},
    }


def _statement(request: Request, mechanism: mechanisms.Mechanism) -> str:
    if not mechanism.private:
        return "no DP claim: the noise scale is the image's own noised mean, so the likelihood ratio is unbounded"
    what = "features and label" if request.label_epsilon is not None else "features, given the label"
    return f"{plain(request.total)}-differential privacy (pure) for one record's {what}"


def _record(manifest: dict[str, Any], digest: str, account: Account) -> dict[str, Any]:
    return {
        "claim": manifest["claim"],
        "dataset": account.dataset,
        "client_records": manifest["public"]["released"],
        "mechanism": manifest["mechanism"],
        "epsilon": manifest["epsilon"],
        "sensitivity": manifest["sensitivity"],
        "scale": manifest["scale"],
        "composition": account.terms.composition,
        "budget": plain(account.terms.budget),
        "spent": plain(account.spent),
        "remaining": plain(account.remaining),
        "manifest": f"sha256:{digest}",
    }
