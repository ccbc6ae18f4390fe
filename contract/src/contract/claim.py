"""The name of a claim: ``claim/v1``.

A ledger charges a claim once, however often it is asked for, so a claim's name is a format. The name digests exactly
what decides the released bytes and their cost, in normal form, and what tells one dataset from another before it is
read: the client, the dataset's name and its file format. Equal releases have equal names: 0.7 and 0.70 are one epsilon,
and alpha and seed count only where they deal records to parts. An assertion of disjointness changes no released byte,
so it is not part of the name.

The text is the first version's, so that the claims of its ledgers keep their names. A field that decides nothing stands
at ``_IDLE``. A field that comes later is written only where it is set, so that it renames no claim that is without it.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

from contract.decimals import plain
from contract.partition import Partition

_DIGITS = 12
_IDLE = {"alpha": 0.5, "seed": 7}  # the defaults of the first version's configuration, which it always wrote


def release(
    client: str,
    *,
    dataset: str,
    file_format: str,
    mechanism: str,
    epsilon: Decimal,
    block: int,
    neighbourhood: int,
    label_epsilon: Decimal | None,
    partition: Partition | None,
    number: int,
) -> str:
    """Return the id of a release, ``<client>-<12 hexadecimal digits>``.

    Args:
        client: whose raw data it is.
        dataset: the name under which the testbed declares it.
        file_format: as ``p3vc release --format``.
        mechanism: of the images.
        epsilon: of the images.
        block: pixelisation block side, pixels.
        neighbourhood: pixels in which neighbouring images may differ.
        label_epsilon: of the labels; None where they are public.
        partition: the part of the dataset; None for all of it.
        number: raised to release again with fresh noise.
    """
    dealt = dict(_IDLE)
    if partition is not None:
        dealt["seed"] = partition.seed
        if partition.alpha is not None:
            dealt["alpha"] = partition.alpha
    return named(
        client,
        {
            **dealt,
            "client": client,
            "dataset": dataset,
            "format": file_format,
            "mechanism": mechanism,
            "epsilon": plain(epsilon),
            "block": block,
            "neighbourhood": neighbourhood,
            "labels": "public" if label_epsilon is None else "private",
            "label_epsilon": None if label_epsilon is None else plain(label_epsilon),
            "partition": None if partition is None else [partition.index, partition.count],
            "partitioner": "none" if partition is None else partition.partitioner,
            "number": number,
        },
    )


def named(client: str, parameters: dict[str, object]) -> str:
    """Return the id of a release with these parameters, as they stand.

    ``release`` is how claims are named. This alone tells what the first version, which wrote its configuration as it
    was, called a claim.
    """
    return f"{client}-{digest(parameters)}"


def grant(client: str, run: str) -> str:
    """Return the id of a client's grant of ``run``."""
    return f"{client}-training-{run}"


def digest(content: dict[str, object]) -> str:
    """Return 12 hexadecimal digits that stand for ``content``, which JSON can write."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_DIGITS]
