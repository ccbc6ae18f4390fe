"""A whole testbed as one resource."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pulumi

from components.client import Client
from components.keys import root_secret
from components.namespaces import GuardedNamespace, peers
from components.network import ClientNetwork, ServerNetwork
from components.nodes import Nodes
from components.objects import Json
from components.outputs import outputs
from components.records import Cluster
from components.run import Run
from components.server import Server
from components.storage import LocalStorage
from testbed import addressing, naming, placement
from testbed import contract as c
from testbed import spec as core
from testbed.keys import Keyring
from testbed.spec import Resources
from testbed.validation import RUN

SERVER_PODS = 4  # the server, a run, the one it replaces, and one to spare


class Testbed(pulumi.ComponentResource):
    """A federated-learning testbed on Kubernetes and Kube-OVN.

    Creates node labels (Nodes), the storage class (LocalStorage), the server's guarded namespace, its network and one
    network for each client group, the Server, each Client with its P3-VC Release and, for a run with
    noise on its models, its Grant, and the Run.

    Attributes:
        outputs: what the testbed's team is told, by output name.
    """

    __test__ = False  # pytest: not a test case
    outputs: dict[str, Any]

    def __init__(
        self,
        name: str,
        spec: core.Testbed,
        *,
        root: bytes | None = None,
        cluster: Cluster | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the testbed.

        Args:
            name: logical name, unique in the program.
            spec: its configuration, from ``testbed.spec.parse``.
            root: secret of 32 or more bytes all keys come from; None for ``components.keys.root_secret``.
            cluster: where records of finished Jobs are read; None for the stack's or the default kubeconfig.
            opts: the usual options; a provider goes to everything the testbed creates.

        Raises:
            pulumi.RunError: when there is no root secret.
        """
        super().__init__("kubeflower:index:Testbed", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        keyring, cluster = Keyring(root or root_secret(), spec.name), cluster or Cluster()
        clients = placement.clients(spec)

        Nodes(f"{name}-nodes", spec, opts=child)
        storage = LocalStorage(f"{name}-storage", spec, opts=child)
        namespace = GuardedNamespace(
            f"{name}-server-namespace",
            spec,
            namespace=naming.server_namespace(spec.name),
            labels={c.LABEL_ROLE: c.ROLE_SERVER},
            pods=SERVER_PODS,
            room=_room(spec),
            allowed={c.ROLE_SERVER: _callers(spec), c.ROLE_RUN: _server_only(spec)},
            opts=child,
        )
        eth0 = ServerNetwork(f"{name}-server-network", spec, opts=child)
        networks = {}
        for link in addressing.links(spec):
            members = [one.id for one in clients if placement.group(spec, one) == link.group]
            networks[link.group] = ClientNetwork(
                f"{name}-{link.group}", spec, link=link, clients=members, server=namespace, opts=child
            )
        server = Server(
            f"{name}-server",
            spec,
            keyring,
            namespace=namespace,
            needs=[storage, eth0, *networks.values()],
            opts=child,
        )
        members_by_id = {
            one.id: Client(
                f"{name}-client-{one.id}",
                spec,
                one,
                keyring,
                cluster,
                needs=[storage, networks[placement.group(spec, one)]],
                server=server,
                opts=child,
            )
            for one in clients
        }
        run = Run(f"{name}-run", spec, keyring, cluster, needs=[namespace, server, *members_by_id.values()], opts=child)
        releases = {client: member.release.record for client, member in members_by_id.items()}
        grants = {client: member.grant.record for client, member in members_by_id.items() if member.grant}
        self.outputs = outputs(spec, keyring.authority(), releases, grants, run.record)
        self.register_outputs(self.outputs)


def _room(spec: core.Testbed) -> Resources:
    """What the server's namespace may ask for: the server itself, and a run beside the one it replaces."""
    own = spec.server.resources
    return Resources(cpu=own.cpu + 3 * RUN.cpu, memory=own.memory + 3 * RUN.memory, gpu=own.gpu)


def _callers(spec: core.Testbed) -> Json:
    """Clients, nodes and the run reach the SuperLink, which opens connections to nobody."""
    networks = [*(link.cidr for link in addressing.links(spec)), spec.network.server, spec.network.join]
    return {"ingress": [{"from": peers(networks), "ports": [{"protocol": "TCP", "port": spec.server.port}]}]}


def _server_only(spec: core.Testbed) -> Json:
    """The run reaches the SuperLink and nothing else."""
    server = IPv4Network(addressing.server_address(spec))
    return {"egress": [{"to": peers([server]), "ports": [{"protocol": "TCP", "port": spec.server.port}]}]}
