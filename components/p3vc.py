"""P3-VC: the only pods that read a client's raw data, and what they release."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.batch.v1 import Job

from components import pods
from components.nics import nic
from components.objects import Json, metadata
from components.records import Cluster, Record
from components.storage import LocalVolume
from contract.decimals import plain
from testbed import commands, naming, placement
from testbed import contract as c
from testbed.releases import release
from testbed.spec import Client, Testbed

TIMEOUT = "1h"  # a release of CIFAR-10 takes minutes on a small node
RETRY = {"pulumi.com/replaceUnready": "true"}  # the next update runs a failed Job again


class Release(pulumi.ComponentResource):
    """A client's differentially private dataset.

    Creates the volumes ``raw`` and ``private`` and the Job ``p3vc-<claim digest>``, awaited until it is complete. The
    claim names the Job: the same parameters are the same Job and are charged once.
    """

    record: pulumi.Output[Record | None]

    def __init__(
        self,
        name: str,
        spec: Testbed,
        client: Client,
        cluster: Cluster,
        *,
        needs: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the release.

        Args:
            name: logical name, unique in the program.
            spec: the testbed.
            client: whose data it is.
            cluster: where the Job's record is read.
            needs: the client's namespace, network and storage class, which come first.
            opts: the usual options.
        """
        super().__init__("kubeflower:index:Release", name, None, opts)
        inside = naming.client_namespace(spec.name, client.id)
        self.volumes = [
            LocalVolume(
                f"{name}-{purpose}",
                spec,
                namespace=inside,
                owner=client.id,
                purpose=purpose,
                node=client.node,
                size=size,
                opts=pulumi.ResourceOptions(parent=self, depends_on=list(needs)),
            )
            for purpose, size in (("raw", spec.storage.raw), ("private", spec.storage.private))
        ]
        made = release(spec, client)
        job = naming.release_job(made.claim)
        price = {
            c.ANNOTATION_EPSILON: plain(made.total_epsilon),
            c.ANNOTATION_MECHANISM: made.mechanism,
            c.ANNOTATION_CLAIM: made.claim,
        }
        self.job = claim_job(
            name,
            spec,
            client,
            called=job,
            container="release",
            argv=commands.p3vc_release(made),
            price=price,
            mounts=(pods.claim("raw", c.MOUNT_SEEDS, read_only=False, sub_path=c.SUBPATH_SEEDS),),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*needs, *self.volumes]),
        )
        self.record = cluster.record(self.job, inside, job, "release")
        self.register_outputs({})


def claim_job(
    name: str,
    spec: Testbed,
    client: Client,
    *,
    called: str,
    container: str,
    argv: Sequence[str],
    price: dict[str, str],
    mounts: Sequence[pods.Mount] = (),
    opts: pulumi.ResourceOptions,
) -> Job:
    """Declare the Job of one claim, awaited until it is complete.

    Args:
        name: logical name, unique in the program.
        spec: the testbed.
        client: whose data it is.
        called: the Job's name in the client's namespace.
        container: name of the container that leaves the record.
        argv: what it runs once the raw data is registered.
        price: annotations that say what is spent and under which claim.
        mounts: what that container sees beside raw data, ledger and private volume.
        opts: its parent and what comes first.
    """
    own = pulumi.ResourceOptions(
        delete_before_replace=True,  # else going back after a refusal would delete the very Job it declares
        custom_timeouts=pulumi.CustomTimeouts(create=TIMEOUT, update=TIMEOUT),
    )
    return Job(
        name,
        metadata=metadata(spec, called, naming.client_namespace(spec.name, client.id), _labels(client), RETRY),
        spec={
            # Pulumi's provider sees a Job fail by its backoff limit alone; with a podFailurePolicy it waits on.
            "backoffLimit": 0,
            "template": _template(spec, client, container, argv, price, more=mounts),
        },
        opts=pulumi.ResourceOptions.merge(opts, own),
    )


def _labels(client: Client) -> dict[str, str]:
    return {c.LABEL_ROLE: c.ROLE_P3VC, c.LABEL_CLIENT: client.id}


def _template(
    spec: Testbed,
    client: Client,
    container: str,
    argv: Sequence[str],
    price: dict[str, str],
    *,
    more: Sequence[pods.Mount],
) -> Json:
    made, privacy, group = release(spec, client), spec.privacy, placement.group(spec, client)
    raw = pods.claim("raw", c.MOUNT_RAW, sub_path=c.SUBPATH_DATA)
    ledger = pods.claim("raw", c.MOUNT_LEDGER, read_only=False, sub_path=c.SUBPATH_LEDGER)
    private = pods.claim("private", c.MOUNT_PRIVATE, read_only=False)
    resources = spec.clients.resources.model_copy(update={"gpu": 0})
    annotations = {**price, c.ANNOTATION_DATASET: made.dataset, **nic(naming.subnet(spec.name, group))}
    if made.disjoint is not None and made.partition is not None:
        part = f"{made.partition.index}/{made.partition.count}"
        annotations |= {c.ANNOTATION_PARTITION: part, c.ANNOTATION_DISJOINT: made.disjoint}
    register = commands.p3vc_register(
        privacy.budget, privacy.composition, privacy.delta, spec.dataset.classes, made.neighbourhood
    )
    return pods.template(
        spec,
        node=client.node,
        pull_policy=spec.clients.image_pull_policy,
        labels={**_labels(client), c.LABEL_NETWORK: group},
        annotations=annotations,
        init=[pods.Container("register", register, resources, (raw, ledger))],
        containers=[pods.Container(container, argv, resources, (raw, ledger, *more, private))],
        restart="Never",
    )
