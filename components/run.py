"""One run of the federated app over the connected clients."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.batch.v1 import Job
from pulumi_kubernetes.core.v1 import ConfigMap

from components import pods
from components.nics import nic
from components.objects import Json, metadata
from components.p3vc import RETRY
from components.records import Cluster, Record
from testbed import addressing, commands, grants, keys, naming, placement, releases
from testbed import contract as c
from testbed.spec import Testbed
from testbed.validation import RUN

TIMEOUT = "24h"  # ten rounds of twenty epochs on small nodes take hours
LABELS = {c.LABEL_ROLE: c.ROLE_RUN}


class Run(pulumi.ComponentResource):
    """A run: registers the clients' keys, waits until they are online, trains, and records the result.

    Creates the ConfigMap ``supernode-keys`` and the Job ``run-<hash>``, awaited until it is complete. The hash covers
    everything that decides the result, so that a changed client set runs anew and an unchanged one does not.
    """

    record: pulumi.Output[Record | None]

    def __init__(
        self,
        name: str,
        spec: Testbed,
        keyring: keys.Keyring,
        cluster: Cluster,
        *,
        needs: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the run.

        Args:
            name: logical name, unique in the program.
            spec: the testbed.
            keyring: its keys.
            cluster: where the Job's record is read.
            needs: namespace, server and clients with their grants, which come first.
            opts: the usual options.
        """
        super().__init__("kubeflower:index:Run", name, None, opts)
        inside, clients = naming.server_namespace(spec.name), placement.clients(spec)
        public = {f"{client.id}.pub": keyring.supernode(client.id, client.key).public for client in clients}
        authorised = ConfigMap(
            f"{name}-keys",
            metadata=metadata(spec, "supernode-keys", inside),
            data=public,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(needs)),
        )
        template = _template(spec, keys.checksum(*public.values()))
        claims = [releases.release(spec, client).claim for client in clients]
        digest = hashlib.sha256(json.dumps([template, claims], sort_keys=True).encode()).hexdigest()[:12]
        job = f"run-{digest}"
        made = Job(
            name,
            metadata=metadata(spec, job, inside, LABELS, RETRY),
            spec={"backoffLimit": 0, "template": template},  # a failed run is reported, not repeated
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[*needs, authorised],
                custom_timeouts=pulumi.CustomTimeouts(create=TIMEOUT, update=TIMEOUT),
            ),
        )
        self.record = cluster.record(made, inside, job, "run")
        self.register_outputs({})


def _template(spec: Testbed, checksum: str) -> Json:
    clients = [client.id for client in placement.clients(spec)]
    container = pods.Container(
        "run",
        commands.run(f"{addressing.server_address(spec)}:{spec.server.port}", grants.config(spec), clients),
        RUN,
        (
            pods.claim("results", c.MOUNT_RESULTS),
            pods.config_map("ca", c.MOUNT_CA),
            pods.config_map("supernode-keys", c.MOUNT_PUBLIC_KEYS),
        ),
        commands.environment(pods.burst(RUN)),
    )
    return pods.template(
        spec,
        node=spec.server.node,
        pull_policy=spec.server.image_pull_policy,
        labels=LABELS,
        annotations={c.ANNOTATION_CHECKSUM: checksum, **nic(naming.subnet(spec.name, naming.SERVER))},
        containers=[container],
        restart="Never",
    )
