"""Which clients may share a network: by the isolation level the policy allows, never by a label alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from testbed import contract as c
from testbed import naming
from testbed.manifests import Object, mapping
from testbed.reachability.acl import Origin
from testbed.workloads import Pod

Isolation = Literal["client", "node", "domain"]


@dataclass(frozen=True, eq=False)
class Groups:
    """The group of each client; clients of one group may reach each other."""

    of_client: Mapping[str, str]

    def of(self, pod: Pod) -> str:
        """The group of a client's pod: the client itself unless it is proved to share."""
        client = pod.client or ""
        return self.of_client.get(client, client)

    def apart(self, one: Pod, other: Pod) -> bool:
        """Whether two client pods must not reach each other."""
        return self.of(one) != self.of(other)


# RFC 1123 subdomain, as Kubernetes wants of a node (apimachinery/pkg/util/validation, IsDNS1123Subdomain).
_NODE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


def _node(pod: Pod) -> str:
    """The node a pod must run on; empty when it may run on several, or on none."""
    value = mapping(pod.spec.get("nodeSelector")).get(c.LABEL_HOSTNAME)
    return value if isinstance(value, str) and _NODE.fullmatch(value) else ""


def _claims(objects: tuple[Object, ...]) -> Iterator[tuple[str, str, str]]:
    """``(client namespace, level, network)`` as namespaces declare them."""
    for obj in objects:
        if obj.kind == "Namespace" and obj.group == "" and obj.labels.get(c.LABEL_CLIENT):
            yield (
                obj.name,
                str(obj.annotations.get(c.ANNOTATION_ISOLATION, "client")),
                str(obj.labels.get(c.LABEL_NETWORK, "")),
            )


def decide(
    objects: Iterable[Object], pods: Iterable[Pod], allowed: Isolation
) -> tuple[Groups, list[tuple[Origin, str]]]:
    """Put clients into groups, and say which claims of a group are not proved.

    A client belongs to a declared group only if the policy allows the level its namespace declares and every one of
    its pods is placed where the group's name says: on that node, or on a node labelled with that domain.
    """
    objects = tuple(objects)
    domains = {o.name: o.labels.get(c.LABEL_NODE_DOMAIN) for o in objects if o.kind == "Node" and o.group == ""}
    claims = {namespace: (level, network) for namespace, level, network in _claims(objects)}
    spaces = {o.name: o for o in objects if o.kind == "Namespace"}
    of_client: dict[str, str] = {}
    problems: list[tuple[Origin, str]] = []
    members: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        if pod.client:
            members[pod.client].append(pod)
    for namespace, (level, _) in claims.items():
        if level not in ("client", allowed):
            origin = Origin(spaces[namespace], ("metadata", "annotations", c.ANNOTATION_ISOLATION), level)
            problems.append((origin, f"isolation {level} is declared, the policy allows {allowed}"))
    if allowed == "client":
        return Groups({}), problems
    for client, mine in members.items():
        proved = True
        for pod in mine:
            level, network = claims.get(pod.namespace, ("client", ""))
            node = _node(pod)
            place = naming.node_group(node) if allowed == "node" else domains.get(node)
            proved = proved and level == allowed and bool(network) and place == network
            if level == allowed and place != network:
                key = "nodeSelector"
                origin = Origin(pod.owner, pod.path("spec", key), f"places it at {place or 'no known place'}")
                problems.append((origin, f"its network group is {network!r} ({allowed}), but it runs elsewhere"))
        if proved and mine and mine[0].group:
            of_client[client] = f"group {mine[0].group}"
    return Groups(of_client), problems
