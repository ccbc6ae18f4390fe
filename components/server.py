"""The server: SuperLink and the executor of its ServerApps."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

import pulumi
from pulumi_kubernetes.apps.v1 import StatefulSet
from pulumi_kubernetes.core.v1 import ConfigMap, Secret, Service

from components import pods
from components.keys import secret_data
from components.nics import server_nics
from components.objects import Json, metadata
from components.storage import LocalVolume
from testbed import addressing, commands, keys, naming
from testbed import contract as c
from testbed.spec import Testbed

NAME = "superlink"
LABELS = {c.LABEL_ROLE: c.ROLE_SERVER}


class Server(pulumi.ComponentResource):
    """A SuperLink with a NIC on every client network.

    Creates the TLS Secret ``superlink-tls``, ConfigMap ``ca``, Secret ``superexec``, the volumes ``state`` and
    ``results``, the StatefulSet ``superlink`` and its NodePort Service.
    """

    def __init__(
        self,
        name: str,
        spec: Testbed,
        keyring: keys.Keyring,
        *,
        namespace: pulumi.Resource,
        needs: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the server.

        Args:
            name: logical name, unique in the program.
            spec: the testbed.
            keyring: its keys.
            namespace: the server's namespace.
            needs: networks and storage class, which come first.
            opts: the usual options.
        """
        super().__init__("kubeflower:index:Server", name, None, opts)
        inside = naming.server_namespace(spec.name)
        child = pulumi.ResourceOptions(parent=self, depends_on=[namespace])
        authority = keyring.authority()
        addresses = [*addressing.server_addresses(spec), IPv4Address("127.0.0.1")]
        tls = keyring.server(addresses, ["localhost", naming.host(spec.server.node)])
        files = [
            Secret(
                f"{name}-tls",
                metadata=metadata(spec, "superlink-tls", inside),
                type="kubernetes.io/tls",
                data=secret_data({"tls.crt": tls.public, "tls.key": tls.private}),
                opts=child,
            ),
            ConfigMap(f"{name}-ca", metadata=metadata(spec, "ca", inside), data={"ca.crt": authority}, opts=child),
            Secret(
                f"{name}-superexec",
                metadata=metadata(spec, "superexec", inside),
                data=secret_data({"secret": keyring.superexec(naming.SERVER)}),
                opts=child,
            ),
        ]
        volumes = [
            LocalVolume(
                f"{name}-{purpose}",
                spec,
                namespace=inside,
                owner=naming.SERVER,
                purpose=purpose,
                node=spec.server.node,
                size=spec.storage.server,
                opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace, *needs]),
            )
            for purpose in ("state", "results")
        ]
        workload = StatefulSet(
            name,
            metadata=metadata(spec, NAME, inside, LABELS),
            spec={
                "replicas": 1,
                "serviceName": NAME,
                "selector": {"matchLabels": {c.LABEL_TESTBED: spec.name, **LABELS}},
                "template": _template(spec, keys.checksum(authority, tls.public)),
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace, *needs, *files, *volumes]),
        )
        Service(
            name,
            metadata=metadata(spec, NAME, inside),
            spec={
                "type": "NodePort",
                "selector": {c.LABEL_TESTBED: spec.name, **LABELS},
                "ports": [
                    {
                        "name": NAME,
                        "protocol": "TCP",
                        "port": spec.server.port,
                        "targetPort": spec.server.port,
                        "nodePort": spec.server.node_port,
                    }
                ],
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[workload]),
        )
        self.register_outputs({})


def _template(spec: Testbed, checksum: str) -> Json:
    port, (small, rest), top = spec.server.port, pods.split(spec.server.resources), pods.burst(spec.server.resources)
    ca, secret = pods.config_map("ca", c.MOUNT_CA), pods.secret("superexec", c.MOUNT_SUPEREXEC)
    superlink = pods.Container(
        "superlink",
        commands.superlink(port),
        small,
        (
            pods.claim("state", c.MOUNT_STATE, read_only=False),
            pods.secret("superlink-tls", c.MOUNT_TLS),
            ca,
            secret,
        ),
        commands.environment(top),
        commands.probe(),
        top,
    )
    executor = pods.Container(
        "superexec",
        commands.server_superexec(port),
        rest,
        (pods.claim("results", c.MOUNT_RESULTS, read_only=False), ca, secret),
        commands.environment(top),
        burst=top,
    )
    return pods.template(
        spec,
        node=spec.server.node,
        pull_policy=spec.server.image_pull_policy,
        labels=LABELS,
        annotations={c.ANNOTATION_CHECKSUM: checksum, **server_nics(spec)},
        containers=[superlink, executor],
    )
