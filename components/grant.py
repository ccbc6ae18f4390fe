"""A client's consent to a run whose models carry noise."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from components import p3vc
from components.records import Cluster, Record
from contract.decimals import plain
from testbed import commands, naming
from testbed import contract as c
from testbed.spec import Client, Testbed


class Grant(pulumi.ComponentResource):
    """What one client's dataset pays for one run.

    Creates the Job ``grant-<run digest>``, awaited until the price is in the client's ledger and the grant in its
    private volume. A Job of its own, so that another run touches no release and restarts no client.
    """

    record: pulumi.Output[Record | None]

    def __init__(
        self,
        name: str,
        spec: Testbed,
        client: Client,
        grant: commands.Grant,
        cluster: Cluster,
        *,
        needs: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the grant.

        Args:
            name: logical name, unique in the program.
            spec: the testbed.
            client: whose data it is.
            grant: what is granted.
            cluster: where the Job's record is read.
            needs: the client's release and what that needs: a run that cannot start should cost nothing.
            opts: the usual options.
        """
        super().__init__("kubeflower:index:Grant", name, None, opts)
        inside, job = naming.client_namespace(spec.name, client.id), naming.grant_job(grant.run)
        price = {
            c.ANNOTATION_EPSILON: plain(grant.epsilon),
            c.ANNOTATION_DELTA: plain(grant.delta),
            c.ANNOTATION_MECHANISM: "gaussian",
            c.ANNOTATION_CLAIM: grant.claim,
        }
        made = p3vc.claim_job(
            name,
            spec,
            client,
            called=job,
            container="grant",
            argv=commands.p3vc_grant(grant),
            price=price,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(needs)),
        )
        self.record = cluster.record(made, inside, job, "grant")
        self.register_outputs({})
