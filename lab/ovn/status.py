"""What Kube-OVN says about subnets and VPCs in their status.

Source: Kube-OVN ``pkg/apis/kubeovn/v1`` (``SubnetStatus``, ``VpcStatus``) and ``pkg/controller/subnet.go``,
``calcSubnetStatusIP``.
"""

from __future__ import annotations

from typing import Any

from lab.ovn.addresses import Allocation, capacity
from lab.ovn.cluster import Cluster, Object, defect, name, spec, vpc_of
from testbed.contract import DEFAULT_VPC


def subnet_status(subnet: Object, cluster: Cluster, allocation: Allocation) -> dict[str, Any]:
    """Conditions and the count of addresses."""
    why = defect(subnet, cluster)
    status: dict[str, Any] = {"conditions": _conditions(subnet, why)}
    if why is None:
        using = len(allocation.using[name(subnet)])
        status |= {"v4usingIPs": using, "v4availableIPs": capacity(subnet) - using}
    return status


def _conditions(subnet: Object, why: str | None) -> list[dict[str, str]]:
    ready = {
        "type": "Ready",
        "status": "False" if why else "True",
        "reason": "ValidateLogicalSwitchFailed" if why else "ResetLogicalSwitchAclSuccess",
        "message": why or "",
    }
    kept = [c for c in (subnet.get("status") or {}).get("conditions") or () if c.get("type") != "Ready"]
    return [*kept, ready]


def vpc_status(vpc: Object, cluster: Cluster, _allocation: Allocation) -> dict[str, Any]:
    """The router, and the subnets on it."""
    return {
        "standby": True,
        "default": name(vpc) == DEFAULT_VPC,
        "router": name(vpc),
        "subnets": [name(s) for s in cluster.all("Subnet") if vpc_of(s) == name(vpc) and defect(s, cluster) is None],
        "vpcPeerings": [str(p["remoteVpc"]) for p in spec(vpc).get("vpcPeerings") or ()],
    }
