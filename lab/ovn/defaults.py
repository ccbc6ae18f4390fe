"""What Kube-OVN creates at its start: the default VPC and its two subnets.

Source: Kube-OVN ``pkg/controller/init.go`` (``initDefaultVpc``, ``initDefaultLogicalSwitch``, ``initNodeSwitch``) and
the defaults of ``dist/images/install.sh``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lab.ovn.cluster import DEFAULT_SUBNET, JOIN_SUBNET, Object, name
from testbed.contract import DEFAULT_VPC

GROUP = "kubeovn.io"
VERSION = "v1"
DEFAULT_CIDR, DEFAULT_GATEWAY = "10.16.0.0/16", "10.16.0.1"
JOIN_CIDR, JOIN_GATEWAY = "100.64.0.0/16", "100.64.0.1"


def _subnet(title: str, cidr: str, gateway: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Subnet",
        "metadata": {"name": title},
        "spec": {
            "vpc": DEFAULT_VPC,
            "protocol": "IPv4",
            "provider": "ovn",
            "cidrBlock": cidr,
            "gateway": gateway,
            "excludeIps": [gateway],
            "gatewayType": "distributed",
            # The lab has no way out of the machine, so the default subnet translates no addresses.
            "natOutgoing": False,
            "private": False,
            **more,
        },
    }


def defaults() -> tuple[dict[str, Any], ...]:
    """The default VPC, its default subnet and the nodes' join subnet."""
    vpc = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Vpc", "metadata": {"name": DEFAULT_VPC}, "spec": {}}
    return (
        vpc,
        _subnet(DEFAULT_SUBNET, DEFAULT_CIDR, DEFAULT_GATEWAY, default=True),
        _subnet(JOIN_SUBNET, JOIN_CIDR, JOIN_GATEWAY, disableInterConnection=True),
    )


def with_defaults(objects: Iterable[Object]) -> list[Object]:
    """The objects, with those of Kube-OVN's defaults that are missing."""
    given = list(objects)
    present = {(obj["kind"], name(obj)) for obj in given}
    return [*given, *(obj for obj in defaults() if (obj["kind"], name(obj)) not in present)]
