"""Registering a dataset, and recognising it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from p3vc.account import Account, Terms
from p3vc.dataset import DatasetDigest, batch_records, leaf
from p3vc.errors import BadInputError
from p3vc.formats import Piece, Shape, Source, open_source
from p3vc.invariants import Invariants, Violations, check
from p3vc.ledger import Ledger
from p3vc.pipeline import Crew, Progress

MAX_CLASSES = 2**16


@dataclass(frozen=True)
class Declared:
    """Invariants as the data owner declares them; None is taken from the data and thereby made public."""

    shape: Shape | None = None
    low: int = 0
    high: int = 255
    classes: int | None = None
    records: int | None = None


def register(
    data: Path, kind: str, ledger: Path, terms: Terms, declared: Declared, *, workers: int | None = None
) -> tuple[Account, bool]:
    """Digest a dataset, check its declared invariants and open its account; returns it and whether it is new.

    Raises:
        BadInputError: the data is broken, violates an invariant, or is registered on other terms; or the delta is too
            large for it.
        RefusedError: the data path is another account's, or what was released protects less than is asked.
    """
    source = open_source(data, kind, declared.shape)
    if declared.shape is not None and source.kind != "folder" and source.shape != declared.shape:
        raise BadInputError(f"--shape {declared.shape}: the images of {data} are {source.shape}")
    if declared.records is not None and source.records != declared.records:
        raise BadInputError(f"--records {declared.records}: {data} has {source.records}")
    fingerprint = source.fingerprint()
    provisional = Invariants(source.records, source.shape, declared.classes or MAX_CLASSES, declared.low, declared.high)
    content, violations, labels = _survey(source, provisional, workers)
    if terms.on_violation == "refuse":
        violations.refuse()
    invariants = replace(provisional, classes=declared.classes or labels)
    book = Ledger(ledger, create=True)
    dataset = book.identify(content)
    new = book.register(
        dataset,
        terms,
        invariants,
        violations.as_json(),
        fingerprint,
        data=data,
        classes_declared=declared.classes is not None,
    )
    return book.accounts()[dataset], new


def _survey(source: Source, invariants: Invariants, workers: int | None) -> tuple[bytes, Violations, int]:
    """Return a dataset's content digest, its violations, and how many labels 0..k-1 its valid records use."""
    source.verify()
    digest, violations, labels = DatasetDigest(source.records, source.shape), Violations(), 1
    size = batch_records(source.shape)
    batches = -(-source.records // size)
    with Crew(invariants, workers, batches) as crew:
        found = crew.run(_survey_piece, source.pieces(size), batches)
        for one, more, most in Progress("digesting", source.records).over(found, size):
            digest.add(one)
            violations.add(more)
            labels = max(labels, most)
    return digest.result(), violations, labels


def _survey_piece(invariants: Invariants, _: int, piece: Piece) -> tuple[bytes, Violations, int]:
    batch = piece.load()
    keep, found = check(invariants, batch.images, batch.labels, batch.malformed)
    return leaf(batch), found, int(batch.labels[keep].max(initial=0)) + 1


def recognise(data: Path, kind: str, ledger: Ledger, *, workers: int | None = None) -> tuple[Source, Account]:
    """Open a dataset and find its account.

    Raises:
        BadInputError: broken data, or a dataset that was not registered.
    """
    source = open_source(data, kind)
    fingerprint, accounts = source.fingerprint(), ledger.accounts()
    account = ledger.seen(fingerprint)
    shapes = {account.invariants.shape} if account else {source.shape, *(a.invariants.shape for a in accounts.values())}
    for shape in shapes if source.kind == "folder" else {source.shape}:
        if shape != source.shape:
            source = open_source(data, kind, shape)
        if account is None:
            content, _, _ = _survey(source, Invariants(source.records, shape, MAX_CLASSES), workers)
            account = accounts.get(ledger.identify(content))
            if account is not None:
                ledger.note(account.dataset, fingerprint)
        if account is not None:
            return source, account
    raise BadInputError(
        f"--data {data}: this dataset is not registered in {ledger.folder}; its owner registers it with p3vc register, "
        "once, and fixes its budget. A dataset whose records changed is another dataset"
    )
