"""The networks: one private Kube-OVN subnet for the server, one VPC with a private subnet for each client group."""

from __future__ import annotations

import json

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.objects import Json, metadata
from testbed import addressing, naming
from testbed import contract as c
from testbed.addressing import Link
from testbed.spec import Testbed

_KUBE_OVN = "kubeovn.io/v1"


def _subnet(cidr: str, gateway: str, vpc: str, namespaces: list[str], reserved: str) -> Json:
    """Return a Subnet's spec: nothing enters or leaves it but through a NIC on it."""
    return {
        "vpc": vpc,
        "protocol": "IPv4",
        "cidrBlock": cidr,
        "gateway": gateway,
        "excludeIps": [reserved],
        "provider": "ovn",
        "namespaces": namespaces,
        "private": True,
        "allowSubnets": [],
        "natOutgoing": False,
        "disableInterConnection": True,
    }


class ServerNetwork(pulumi.ComponentResource):
    """The network of the server's eth0.

    Creates one private Subnet in Kube-OVN's default VPC, which nodes reach (for the node port) and pods do not.
    """

    def __init__(self, name: str, spec: Testbed, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kubeflower:index:ServerNetwork", name, None, opts)
        gateway, reserved = str(addressing.server_gateway(spec)), addressing.server_reserved(spec)
        namespaces = [naming.server_namespace(spec.name)]
        CustomResource(
            name,
            api_version=_KUBE_OVN,
            kind="Subnet",
            metadata=metadata(spec, naming.subnet(spec.name, naming.SERVER)),
            spec=_subnet(str(spec.network.server), gateway, c.DEFAULT_VPC, namespaces, reserved),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


class ClientNetwork(pulumi.ComponentResource):
    """The network one client, node or domain has to itself, and the server's way in.

    Creates a Vpc with no route out, its private Subnet, and the NetworkAttachmentDefinition by which the server gets a
    NIC on it.
    """

    def __init__(
        self,
        name: str,
        spec: Testbed,
        *,
        link: Link,
        clients: list[str],
        server: pulumi.Resource,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the network.

        Args:
            name: logical name, unique in the program.
            spec: the testbed.
            link: its addresses.
            clients: ids of the clients on it now; a network exists before its first client.
            server: the server's namespace, in which the attachment lies.
            opts: the usual options.
        """
        super().__init__("kubeflower:index:ClientNetwork", name, None, opts)
        labels = {c.LABEL_NETWORK: link.group}
        namespaces = [naming.client_namespace(spec.name, client) for client in clients]
        vpc = CustomResource(
            name,
            api_version=_KUBE_OVN,
            kind="Vpc",
            metadata=metadata(spec, naming.vpc(spec.name, link.group), labels=labels),
            spec={"namespaces": namespaces},
            opts=pulumi.ResourceOptions(parent=self),
        )
        subnet = _subnet(
            str(link.cidr),
            str(link.gateway),
            naming.vpc(spec.name, link.group),
            namespaces,
            addressing.reserved(spec, link),
        )
        CustomResource(
            name,
            api_version=_KUBE_OVN,
            kind="Subnet",
            metadata=metadata(spec, naming.subnet(spec.name, link.group), labels=labels),
            # Nobody answers a gateway check in a VPC without a route out.
            spec={**subnet, "disableGatewayCheck": True},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[vpc]),
        )
        attachment = {
            "cniVersion": "0.3.1",
            "type": "kube-ovn",
            "server_socket": "/run/openvswitch/kube-ovn-daemon.sock",
            "provider": naming.provider(spec.name, link.group),
        }
        CustomResource(
            name,
            api_version="k8s.cni.cncf.io/v1",
            kind="NetworkAttachmentDefinition",
            metadata=metadata(spec, naming.attachment(link.group), naming.server_namespace(spec.name), labels=labels),
            spec={"config": json.dumps(attachment)},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[server]),
        )
        self.register_outputs({})
