"""Labels on the cluster's nodes."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.core.v1 import NodePatch

from testbed import contract as c
from testbed import naming
from testbed.spec import Node, Testbed


class Nodes(pulumi.ComponentResource):
    """What the testbed says about machines it did not make.

    Creates a NodePatch for each node: tier, domain and GPU labels, given back when the testbed goes.
    """

    def __init__(self, name: str, spec: Testbed, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kubeflower:index:Nodes", name, None, opts)
        for node in spec.nodes:
            host = naming.host(node.name)
            NodePatch(
                f"{name}-{host}",
                metadata={"name": host, "labels": labels(node)},
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})


def labels(node: Node) -> dict[str, str]:
    """Return the labels of a node."""
    found = {c.LABEL_NODE_TIER: node.role, c.LABEL_NODE_DOMAIN: node.domain}
    return found | ({c.LABEL_NODE_GPU: node.gpu.lower()} if node.gpu else {})
