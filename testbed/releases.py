"""The P3-VC release each client of a testbed starts from."""

from __future__ import annotations

from testbed.commands import Release
from testbed.spec import Client, Testbed


def release(spec: Testbed, client: Client) -> Release:
    """Return a client's release: the testbed's privacy section under the client's own overrides.

    A partitioned dataset is cut into as many parts as the testbed has slots, not clients: connecting a client then
    changes nobody's part, and nobody releases again.
    """
    p, own, data = spec.privacy, client.privacy, spec.dataset
    return Release(
        client=client.id,
        dataset=client.dataset or data.name,
        epsilon=own.epsilon or p.epsilon,
        mechanism=own.mechanism or p.mechanism,
        block=own.block or p.block,
        neighbourhood=own.neighbourhood or p.neighbourhood,
        labels=p.labels,
        label_epsilon=p.label_epsilon,
        partition=None if data.partition == "none" else (client.slot - 1, spec.capacity),
        partitioner=data.partition,
        alpha=data.alpha,
        seed=data.seed,
        format=data.format,
        number=own.release or p.release,
        disjoint=None if data.partition == "none" else p.disjoint,
    )
