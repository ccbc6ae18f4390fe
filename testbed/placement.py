"""Which client runs on which node: every strategy ends in the same list of clients with stable slots."""

from __future__ import annotations

from testbed.naming import node_group, slot_group
from testbed.spec import Client, Node, Testbed


def _spread(nodes: list[Node], count: int) -> list[str]:
    """Round-robin over the nodes."""
    return [nodes[i % len(nodes)].name for i in range(count)]


def _weighted(nodes: list[Node], count: int) -> list[str]:
    """Give each next client to the node with the most vCPU per client so far (ties: declaration order)."""
    load = {n.name: 0 for n in nodes}
    placed: list[str] = []
    for _ in range(count):
        best = max(nodes, key=lambda n: n.cpu / (load[n.name] + 1))
        load[best.name] += 1
        placed.append(best.name)
    return placed


def clients(spec: Testbed) -> tuple[Client, ...]:
    """Return the testbed's clients in slot order.

    A count becomes clients ``c1`` … ``cN`` on slots 1 … N. The nodes are assigned in an order in which raising
    the count moves nobody, except that an explicit node map is taken as the whole truth: its nodes in the order of
    their declaration, since a map has no order that every reader keeps.
    """
    chosen = spec.clients
    if chosen.list:
        return tuple(sorted(chosen.list, key=lambda c: c.slot))
    count = chosen.num_clients or 0
    workers = [n for n in spec.nodes if n.role != "control-plane"]
    if isinstance(chosen.placement, dict):
        nodes = [n.name for n in spec.nodes for _ in range(chosen.placement.get(n.name, 0))]
    elif chosen.placement == "weighted":
        nodes = _weighted(workers, count)
    else:
        nodes = _spread(workers, count)
    return tuple(Client(id=f"c{i}", slot=i, node=node) for i, node in enumerate(nodes, 1))


def group(spec: Testbed, client: Client) -> str:
    """Name of the network the client belongs to, by the declared isolation level."""
    if spec.isolation == "client":
        return slot_group(client.slot)
    node = next(n for n in spec.nodes if n.name == client.node)
    return node_group(node.name) if spec.isolation == "node" else node.domain


def groups(spec: Testbed) -> tuple[str, ...]:
    """Every network that exists from the first deployment on, so that a later client restarts nobody."""
    if spec.isolation == "client":
        return tuple(slot_group(slot) for slot in range(1, spec.capacity + 1))
    workers = [n for n in spec.nodes if n.role != "control-plane"]
    names = [node_group(n.name) if spec.isolation == "node" else n.domain for n in workers]
    return tuple(dict.fromkeys(names))
