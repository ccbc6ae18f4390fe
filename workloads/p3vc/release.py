"""Releasing a dataset under a claim.

Order of a release: the headers are read and the dataset is recognised (untouched files by their fingerprint, others
by their digest) → the place of the output is tried → the claim is admitted and committed in the ledger → the records
are read once, digested and released → the digest is compared → the output appears → the claim is complete. No record
influences any output before the commit, and an output whose records were not those of the charged dataset never
appears; nor is its noise ever used again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p3vc import manifest as manifests
from p3vc import mechanisms, output
from p3vc.account import Account
from p3vc.dataset import DatasetDigest, batch_records, leaf
from p3vc.errors import BadInputError, RefusedError
from p3vc.formats import Piece, Shape, Source
from p3vc.invariants import Invariants, Violations, check
from p3vc.keystream import Keystream
from p3vc.ledger import Ledger
from p3vc.partition import Partition
from p3vc.pipeline import Crew, Progress
from p3vc.register import recognise
from p3vc.request import Request
from p3vc.sampler import randomised_response


def release(
    data: Path,
    kind: str,
    out: Path,
    folder: Path,
    request: Request,
    *,
    seeds: Path | None = None,
    workers: int | None = None,
) -> tuple[dict[str, Any], bool]:
    """Release a dataset under a claim; returns the record for the termination message and whether it is new.

    ``seeds`` is where the noise's seed lies until the release is whole; beside the ledger when None.

    Raises:
        BadInputError: broken data or ledger, or a claim id that stands for something else.
        RefusedError: over budget, no DP claim, or a completed claim whose output is gone.
    """
    book = Ledger(folder, seeds)
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
    compatible(request, source, account)
    request = replace(request, claim=book.known(request.claim, request.formerly))
    with book.exclusively(request.claim):
        book.compare(out)
        known = book.accounts()[account.dataset].claims.get(request.claim)
        if known is None:
            _try(out, source.shape)
        if known is None or known.status == "reserved":
            book.seeds.prepare()
        account = book.admit(
            account.dataset, request.claim, request.parameters(account), request.charge(account), request.disjoint
        )
        state = account.claims[request.claim]
        try:
            manifest, digest = output.verify(out, request.claim, workers)
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
            manifest, digest = _write(
                book, source, out, request, account, mechanism=mechanism, seed=seed, workers=workers
            )
        account = book.complete(account.dataset, request.claim, digest)
    return manifests.record(manifest, digest, account), new


def _try(out: Path, shape: Shape) -> None:
    """Find out before a charge whether a release can be written, leaving nothing behind.

    Raises:
        BadInputError: it cannot.
    """
    made = not out.exists()
    try:
        with output.Output(out, shape):
            pass
    except OSError as error:
        raise BadInputError(
            f"--out {out}: cannot be written ({error.strerror}); name a folder that can be. Nothing was charged"
        ) from error
    if made:
        with contextlib.suppress(OSError):  # something else is there by now
            out.rmdir()


def compatible(request: Request, source: Source, account: Account) -> None:
    """Compare what is asked for with what the dataset is.

    Raises:
        BadInputError: the claim on private labels would not hold.
        RefusedError: it protects fewer pixels than the dataset's owner demands.
    """
    least = account.terms.neighbourhood
    if request.claim not in account.claims and least is not None and request.neighbourhood < least:
        raise RefusedError(
            f"claim {request.claim} refused: --neighbourhood {request.neighbourhood} protects fewer pixels than the "
            f"{least} that dataset {account.dataset} is registered for; ask for {least} or more. Nothing was read"
        )
    part = request.partition
    if part is not None and part.partitioner == "dirichlet" and request.label_epsilon is not None:
        raise BadInputError(
            "--partitioner dirichlet: which records a part holds depends on the labels, which --labels private "
            "protects; use --partitioner iid or public labels"
        )
    if source.kind == "folder" and request.label_epsilon is not None:
        raise BadInputError(
            "--labels private: a folder's records are in order of their class, so their order gives the labels away; "
            "pack the images in one shuffled .npz"
        )
    if request.label_epsilon is not None and account.invariants.classes < 2:
        raise BadInputError("--labels private: the dataset has one class only; there is nothing to protect")
    new = request.claim not in account.claims  # repeating what was released tells nothing more
    if new and request.label_epsilon is not None and not account.classes_declared:
        fix = (
            f"claim {account.private_labels[0]} released private labels under it already: release with public labels"
            if account.private_labels
            else "its owner declares it: register with --classes N"
        )
        raise BadInputError(
            "--labels private: the dataset was registered without --classes, so the label set that a release "
            f"publishes was taken from the very labels to protect; {fix}"
        )


@dataclass(frozen=True)
class _Job:
    """What the workers of one release share."""

    invariants: Invariants
    mechanism: mechanisms.Mechanism
    seed: bytes
    label_epsilon: Fraction | None
    partition: Partition | None
    cumulative: NDArray[np.float64] | None
    target: output.Output
    in_place: bool  # every record is expected to stay, so a batch's place in the output is that in the source


@dataclass(frozen=True)
class _Released:
    """What comes of one batch: the records themselves only where those before them must be counted first."""

    digest: bytes
    violations: Violations
    count: int
    written: tuple[bytes, bytes] | None  # digests of images and labels
    records: tuple[NDArray[np.uint8], NDArray[np.int64]] | None


def noisy(mechanism: mechanisms.Mechanism, images: NDArray[np.uint8], seed: bytes, number: int) -> NDArray[np.uint8]:
    """Return what is released of a batch of images: every batch of a seed has noise of its own."""
    return mechanism.release(images, Keystream(seed, "pixels", number))


def _release_piece(job: _Job, number: int, piece: Piece) -> _Released:
    batch = piece.load()
    digest = leaf(batch)
    keep, violations = check(job.invariants, batch.images, batch.labels, batch.malformed)
    if job.partition is not None and job.cumulative is not None:
        inside = np.where((batch.labels >= 0) & (batch.labels < job.invariants.classes), batch.labels, 0)
        keep &= job.partition.members(number, inside, job.cumulative)
    images, labels = (batch.images, batch.labels) if keep.all() else (batch.images[keep], batch.labels[keep])
    images = noisy(job.mechanism, images, job.seed, number)
    if job.label_epsilon is not None:
        stream = Keystream(job.seed, "labels", number)
        labels = randomised_response(stream, labels, job.invariants.classes, job.label_epsilon)
    if not job.in_place:
        return _Released(digest, violations, labels.size, None, (images, labels))
    return _Released(digest, violations, labels.size, job.target.write_batch(number, images, labels), None)


def _write(
    book: Ledger,
    source: Source,
    out: Path,
    request: Request,
    account: Account,
    *,
    mechanism: mechanisms.Mechanism,
    seed: bytes,
    workers: int | None,
) -> tuple[dict[str, Any], str]:
    size, part, invariants = batch_records(source.shape), request.partition, account.invariants
    digest, violations = DatasetDigest(source.records, source.shape), Violations()
    with output.Output(out, source.shape) as target:
        job = _Job(
            invariants=invariants,
            mechanism=mechanism,
            seed=seed,
            label_epsilon=None if request.label_epsilon is None else Fraction(request.label_epsilon),
            partition=part,
            cumulative=part.proportions(invariants.classes) if part else None,
            target=target,
            in_place=part is None and not account.violations["records"],
        )
        batches = -(-source.records // size)
        with Crew(job, workers, batches) as crew:
            released = crew.run(_release_piece, source.pieces(size), batches)
            for one in Progress("releasing", source.records).over(released, size):
                digest.add(one.digest)
                violations.add(one.violations)
                if one.written is not None:
                    target.extend(one.count, one.written)
                if one.records is not None:
                    target.append(*one.records)
            if book.identify(digest.result()) != account.dataset:
                book.forfeit(request.claim)
                raise BadInputError(
                    f"claim {request.claim}: the data is not what its untouched files promised: another dataset was "
                    "charged. Nothing was released; the charge stays because reading had begun, and the claim ends. "
                    "Touch the data's files so that they are recognised anew, and ask under a new claim id"
                )
            manifest = manifests.manifest(
                request, mechanism, account, violations, target.labels.count, quote=book.quote(account, request.claim)
            )
            return manifest, target.publish(manifest)
