"""A federation member."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

import pulumi
from pulumi_kubernetes.apps.v1 import StatefulSet
from pulumi_kubernetes.core.v1 import ConfigMap, Secret

from components import pods
from components.grant import Grant
from components.keys import secret_data
from components.namespaces import GuardedNamespace, peers
from components.nics import nic
from components.objects import SKIP_AWAIT, Json, metadata
from components.p3vc import Release
from components.records import Cluster
from testbed import addressing, commands, grants, keys, naming, placement, releases
from testbed import contract as c
from testbed.spec import Client as ClientSpec
from testbed.spec import Resources, Testbed

NAME = "supernode"
PODS = 4  # a SuperNode, a release or after it a grant, its retry and the one it replaces


class Client(pulumi.ComponentResource):
    """One client, which shares nothing with another.

    Creates its guarded namespace, its Release (P3-VC), ConfigMap ``ca``, Secrets ``superexec`` and ``supernode-key``
    and, once the release is complete, the StatefulSet ``supernode``; and its Grant of a run whose models carry noise,
    for which the run waits and the SuperNode does not.
    """

    def __init__(
        self,
        name: str,
        spec: Testbed,
        client: ClientSpec,
        keyring: keys.Keyring,
        cluster: Cluster,
        *,
        needs: Sequence[pulumi.Resource],
        server: pulumi.Resource,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the client.

        Args:
            name: logical name, unique in the program.
            spec: the testbed.
            client: its configuration.
            keyring: the testbed's keys.
            cluster: where the records of its Jobs are read.
            needs: its network and storage class, which come first.
            server: what its SuperNode connects to.
            opts: the usual options.
        """
        super().__init__("kubeflower:index:Client", name, None, opts)
        inside, group = naming.client_namespace(spec.name, client.id), placement.group(spec, client)
        identity = {c.LABEL_ROLE: c.ROLE_CLIENT, c.LABEL_CLIENT: client.id}
        whole = spec.clients.resources
        namespace = GuardedNamespace(
            f"{name}-namespace",
            spec,
            namespace=inside,
            labels={**identity, c.LABEL_NETWORK: group},
            annotations={c.ANNOTATION_ISOLATION: spec.isolation},
            pods=PODS,
            room=Resources(cpu=whole.cpu * PODS, memory=whole.memory * PODS, gpu=whole.gpu),
            allowed={c.ROLE_CLIENT: _only_the_server(spec, client)},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.release = Release(
            f"{name}-release",
            spec,
            client,
            cluster,
            needs=[namespace, *needs],
            opts=pulumi.ResourceOptions(parent=self),
        )
        granted = grants.grant(spec, client)
        self.grant = (
            Grant(
                f"{name}-grant",
                spec,
                client,
                granted,
                cluster,
                needs=[namespace, *needs, self.release],
                opts=pulumi.ResourceOptions(parent=self),
            )
            if granted
            else None
        )
        child = pulumi.ResourceOptions(parent=self, depends_on=[namespace])
        authority, key = keyring.authority(), keyring.supernode(client.id, client.key)
        executor = keyring.superexec(client.id)
        files = [
            ConfigMap(f"{name}-ca", metadata=metadata(spec, "ca", inside), data={"ca.crt": authority}, opts=child),
            Secret(
                f"{name}-superexec",
                metadata=metadata(spec, "superexec", inside),
                data=secret_data({"secret": executor}),
                opts=child,
            ),
            Secret(
                f"{name}-key",
                metadata=metadata(spec, "supernode-key", inside),
                data=secret_data({"id": key.private}),
                opts=child,
            ),
        ]
        StatefulSet(
            name,
            # Not awaited: a SuperNode is ready only once the run has registered its key, and the run waits for it.
            metadata=metadata(spec, NAME, inside, identity, SKIP_AWAIT),
            spec={
                "replicas": 1,
                "serviceName": NAME,
                "selector": {"matchLabels": {c.LABEL_TESTBED: spec.name, **identity}},
                "template": _template(spec, client, {**identity, c.LABEL_NETWORK: group}, authority + key.public),
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace, *needs, *files, self.release, server]),
        )
        self.register_outputs({})


def _only_the_server(spec: Testbed, client: ClientSpec) -> Json:
    server = IPv4Network(addressing.link_of(spec, client).server)
    ports = [{"protocol": "TCP", "port": spec.server.port}]
    return {"egress": [{"to": peers([server]), "ports": ports}]}


def _template(spec: Testbed, client: ClientSpec, labels: dict[str, str], published: str) -> Json:
    link, (small, rest) = addressing.link_of(spec, client), pods.split(spec.clients.resources)
    top = pods.burst(spec.clients.resources)
    address = str(addressing.client_address(spec, client))
    secret, private = pods.secret("superexec", c.MOUNT_SUPEREXEC), pods.claim("private", c.MOUNT_PRIVATE)
    gate = commands.p3vc_verify(releases.release(spec, client))
    supernode = pods.Container(
        "supernode",
        commands.supernode(f"{link.server}:{spec.server.port}", client.id, client.slot),
        small,
        (pods.config_map("ca", c.MOUNT_CA), pods.secret("supernode-key", c.MOUNT_KEY), secret),
        commands.environment(top),
        commands.probe(),
        top,
    )
    executor = pods.Container(
        "superexec", commands.client_superexec(), rest, (private, secret), commands.environment(top), burst=top
    )
    return pods.template(
        spec,
        node=client.node,
        pull_policy=spec.clients.image_pull_policy,
        labels=labels,
        annotations={
            c.ANNOTATION_CHECKSUM: keys.checksum(published),
            **nic(naming.subnet(spec.name, link.group), address),
        },
        init=[pods.Container("release-gate", gate, small, (private,))],
        containers=[supernode, executor],
    )
