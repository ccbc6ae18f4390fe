"""The P3-VC release each client of a testbed starts from."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from contract import claim
from contract.partition import Partition
from testbed.commands import Release
from testbed.spec import Client, Testbed


def release(spec: Testbed, client: Client) -> Release:
    """Return a client's release: the testbed's privacy section under the client's own overrides.

    A partitioned dataset is cut into as many parts as the testbed has slots, not clients: connecting a client then
    changes nobody's part, and nobody releases again.
    """
    p, own, data = spec.privacy, client.privacy, spec.dataset
    part = (
        None
        if data.partition == "none"
        else Partition.of(client.slot - 1, spec.capacity, data.partition, data.alpha, data.seed)
    )
    made = Release(
        client=client.id,
        dataset=client.dataset or data.name,
        epsilon=own.epsilon or p.epsilon,
        mechanism=own.mechanism or p.mechanism,
        block=own.block or p.block,
        neighbourhood=own.neighbourhood or p.neighbourhood,
        labels=p.labels,
        label_epsilon=p.label_epsilon,
        partition=part,
        format=data.format,
        number=own.release or p.release,
        disjoint=None if data.partition == "none" else p.disjoint,
    )
    first = _first_name(spec, made)
    return made if first == made.claim else replace(made, formerly=first)


def _first_name(spec: Testbed, made: Release) -> str:
    """Return what the first version called a claim: it digested the configuration as it was written."""
    part, data = made.partition, spec.dataset

    def written(epsilon: Decimal | None) -> str | None:
        return None if epsilon is None else str(epsilon)

    return claim.named(
        made.client,
        {
            "client": made.client,
            "dataset": made.dataset,
            "epsilon": written(made.epsilon),
            "mechanism": made.mechanism,
            "block": made.block,
            "neighbourhood": made.neighbourhood,
            "labels": made.labels,
            "label_epsilon": written(made.label_epsilon),
            "partition": None if part is None else [part.index, part.count],
            "partitioner": data.partition,
            "alpha": data.alpha,
            "seed": data.seed,
            "format": made.format,
            "number": made.number,
        },
    )
