"""A namespace and its guards."""

from __future__ import annotations

from ipaddress import IPv4Network

import pulumi
from pulumi_kubernetes.core.v1 import Namespace, ResourceQuota
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from components.objects import Json, metadata
from components.pods import quantities
from testbed import contract as c
from testbed.spec import Resources, Testbed


class GuardedNamespace(pulumi.ComponentResource):
    """A namespace nothing runs in unless it is allowed.

    Creates a Namespace with Kubernetes' ``restricted`` pod security, a ResourceQuota, the NetworkPolicy ``default``
    that lets no pod send or receive, and one NetworkPolicy for each role that may.
    """

    def __init__(
        self,
        name: str,
        spec: Testbed,
        *,
        namespace: str,
        labels: dict[str, str],
        annotations: dict[str, str] | None = None,
        pods: int,
        room: Resources,
        allowed: dict[str, Json],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the namespace.

        Args:
            name: logical name, unique in the program.
            spec: the testbed.
            namespace: the namespace's name.
            labels: its labels beside the testbed's and pod security's.
            annotations: its annotations.
            pods: how many pods may run at a time.
            room: what they may ask for together.
            allowed: by role, the ``ingress`` and ``egress`` of a NetworkPolicy for its pods.
            opts: the usual options.
        """
        super().__init__("kubeflower:index:GuardedNamespace", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        made = Namespace(
            name,
            metadata=metadata(spec, namespace, labels={**security, **labels}, annotations=annotations),
            opts=child,
        )
        inside = pulumi.ResourceOptions(parent=self, depends_on=[made])
        hard = {"pods": str(pods)}
        for resource, quantity in quantities(room).items():
            hard[f"requests.{resource}"] = quantity
        hard["limits.memory"] = hard["requests.memory"]
        ResourceQuota(
            f"{name}-quota",
            metadata=metadata(spec, "quota", namespace),
            spec={"hard": hard},
            opts=inside,
        )
        for role, rules in {"": {}, **allowed}.items():
            selected = {"matchLabels": {c.LABEL_ROLE: role}} if role else {}
            NetworkPolicy(
                f"{name}-{role or 'default'}",
                metadata=metadata(spec, role or "default", namespace),
                spec={"podSelector": selected, "policyTypes": ["Ingress", "Egress"], **rules},
                opts=inside,
            )
        self.register_outputs({})


def peers(networks: list[IPv4Network]) -> list[Json]:
    """Write networks as a NetworkPolicy's peers."""
    return [{"ipBlock": {"cidr": str(network)}} for network in networks]
