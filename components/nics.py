"""Pod annotations that put NICs on networks (Kube-OVN, Multus)."""

from __future__ import annotations

import json

from testbed import addressing, naming
from testbed import contract as c
from testbed.spec import Testbed


def nic(subnet: str, address: str | None = None, provider: str | None = None) -> dict[str, str]:
    """Return a pod's annotations for one NIC: on ``subnet``, with port security, at ``address`` if given."""
    found = {
        c.nic_annotation("logical_switch", provider): subnet,
        c.nic_annotation("port_security", provider): "true",
    }
    return found | ({c.nic_annotation("ip_address", provider): address} if address else {})


def server_nics(spec: Testbed) -> dict[str, str]:
    """Return the server's annotations: eth0 on its own network and net1 … netN, one on each client network."""
    found, networks = nic(naming.subnet(spec.name, naming.SERVER), str(addressing.server_address(spec))), []
    namespace = naming.server_namespace(spec.name)
    for link in addressing.links(spec):
        subnet, provider = naming.subnet(spec.name, link.group), naming.provider(spec.name, link.group)
        found |= nic(subnet, str(link.server), provider)
        attachment = naming.attachment(link.group)
        networks.append({"name": attachment, "namespace": namespace, "interface": link.interface})
    return found | {c.MULTUS_NETWORKS: json.dumps(networks)}
