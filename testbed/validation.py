"""Checks that need more than one section of the configuration."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Network

from testbed import addressing, naming, placement
from testbed.errors import Problem
from testbed.spec import Client, Resources, Testbed

MEANS = ("fedavg", "fedprox")  # strategies whose aggregate is the mean of the clients' models
RUN = Resources(cpu=200, memory=512)  # the run beside the server: registers, submits and waits


def check(spec: Testbed, prefix: str = "") -> list[Problem]:
    """Return everything that contradicts itself in ``spec``; empty when it can be built."""
    problems = [*_nodes(spec), *_placement(spec)]
    if not problems:  # the rest needs resolvable clients
        problems += [*_clients(spec), *_network(spec), *_capacity_of_nodes(spec), *_privacy(spec), *_training(spec)]
    return [Problem(prefix + p.key, p.value, p.advice) for p in problems]


def _node_names(spec: Testbed) -> str:
    return ", ".join(n.name for n in spec.nodes)


def _nodes(spec: Testbed) -> list[Problem]:
    problems = []
    for name, times in Counter(naming.node_group(n.name) for n in spec.nodes).items():
        if times > 1:
            advice = "names differ in more than case; give every node a name of its own"
            problems.append(Problem("nodes", f"{name!r} {times} times", advice))
    if spec.isolation != "client" and naming.SERVER in placement.groups(spec):
        problems.append(
            Problem("nodes", repr(naming.SERVER), f"names the server's network; rename the {spec.isolation}")
        )
    if spec.server.node not in {n.name for n in spec.nodes}:
        problems.append(Problem("server.node", repr(spec.server.node), f"no such node; nodes are {_node_names(spec)}"))
    return problems


def _placement(spec: Testbed) -> list[Problem]:
    chosen, names = spec.clients, {n.name for n in spec.nodes}
    if chosen.list and chosen.num_clients is not None:
        return [Problem("clients", "num_clients and list", "give one of the two")]
    if not chosen.list and chosen.num_clients is None and not isinstance(chosen.placement, dict):
        return [Problem("clients", "empty", "give num_clients, or a list of clients")]
    if isinstance(chosen.placement, dict):
        problems = [
            Problem(f"clients.placement.{name}", repr(name), f"no such node; nodes are {_node_names(spec)}")
            for name in chosen.placement
            if name not in names
        ]
        total = sum(chosen.placement.values())
        if chosen.num_clients is not None and total != chosen.num_clients:
            problems.append(
                Problem(
                    "clients.num_clients",
                    str(chosen.num_clients),
                    f"the placement places {total}; make them equal",
                )
            )
        return problems
    if not chosen.list and all(n.role == "control-plane" for n in spec.nodes):
        return [Problem("nodes", "control-plane only", "add a node of role cloud or edge to place clients on")]
    return [
        Problem(f"clients.list[{i}].node", repr(client.node), f"no such node; nodes are {_node_names(spec)}")
        for i, client in enumerate(chosen.list)
        if client.node not in names
    ]


def _clients(spec: Testbed) -> list[Problem]:
    clients = placement.clients(spec)
    problems: list[Problem] = []
    for field, values in (("id", [c.id for c in clients]), ("slot", [c.slot for c in clients])):
        for value, times in Counter(map(str, values)).items():
            if times > 1:
                problems.append(
                    Problem(f"clients.list.{field}", f"{value!r} {times} times", f"every {field} is used once")
                )
    problems += [
        Problem("clients.list.id", repr(c.id), "names the server; choose another id")
        for c in clients
        if c.id == naming.SERVER
    ]
    problems += [
        Problem(
            "clients",
            f"client {c.id!r} on slot {c.slot}",
            f"beyond capacity {spec.capacity}; free a slot, or raise kubeflower:capacity, which restarts the server "
            "and cuts a partitioned dataset anew: every client then spends on a new release",
        )
        for c in clients
        if c.slot > spec.capacity
    ]
    roles = {n.name: n.role for n in spec.nodes}
    if spec.isolation != "client":
        problems += [
            Problem("clients", f"client {c.id!r} on node {c.node!r}", "a control-plane node has no client network")
            for c in clients
            if roles[c.node] == "control-plane"
        ]
    return problems


def _network(spec: Testbed) -> list[Problem]:
    net, problems = spec.network, []
    ranges: list[tuple[str, IPv4Network]] = [("network.server", net.server), ("network.clients", net.clients)]
    ranges += [("network.join", net.join)]
    ranges += [(f"network.reserved[{i}]", r) for i, r in enumerate(net.reserved)]
    for i, (key, one) in enumerate(ranges):
        for other_key, other in ranges[i + 1 :]:
            if one.overlaps(other) and not key.startswith("network.reserved"):
                problems.append(Problem(key, str(one), f"overlaps {other_key} {other}; choose disjoint ranges"))
    needed = addressing.hosts_needed(spec)
    if 2 ** (32 - net.prefix) < needed:
        fit = 32 - (needed - 1).bit_length()
        problems.append(
            Problem(
                "network.prefix",
                f"/{net.prefix} holds {2 ** (32 - net.prefix)} addresses",
                f"a client network needs {needed} (isolation {spec.isolation}, capacity {spec.capacity}): use /{fit}",
            )
        )
    count = len(placement.groups(spec))
    room = 2 ** (net.prefix - net.clients.prefixlen) if net.prefix >= net.clients.prefixlen else 0
    if room < count:
        problems.append(
            Problem(
                "network.clients",
                str(net.clients),
                f"holds {room} subnets of /{net.prefix}, {count} are needed",
            )
        )
    if net.server.num_addresses < 8:
        problems.append(Problem("network.server", str(net.server), "needs 8 addresses or more: use /29 or larger"))
    wanted = len(spec.nodes) + 3  # the network's own, its gateway's and the broadcast address
    if net.join.num_addresses < wanted:
        fit = 32 - (wanted - 1).bit_length()
        problems.append(
            Problem("network.join", str(net.join), f"every node has an address there: use /{fit} or larger")
        )
    return problems


def _capacity_of_nodes(spec: Testbed) -> list[Problem]:
    """Refuse requests no node can meet, and clients that together do not fit their node."""
    nodes, wanted = {n.name: n for n in spec.nodes}, spec.clients.resources
    on_node: dict[str, list[Client]] = {}
    for client in placement.clients(spec):
        on_node.setdefault(client.node, []).append(client)
    problems = []
    for name in dict.fromkeys([*on_node, spec.server.node]):
        node, count, server = nodes[name], len(on_node.get(name, ())), spec.server.node == name
        mine, kept = spec.server.resources if server else None, spec.storage
        for unit, measure, per_client, of_server, has in (
            ("cpu", "millicores", wanted.cpu, mine.cpu + RUN.cpu if mine else 0, node.cpu * 1000),
            ("memory", "MiB", wanted.memory, mine.memory + RUN.memory if mine else 0, node.memory * 1024),
            ("gpu", "GPUs", wanted.gpu, mine.gpu if mine else 0, 1 if node.gpu else 0),
            ("disk", "GiB", kept.raw + kept.private, kept.server if mine else 0, node.disk),
        ):
            asked = per_client * count + of_server
            if asked > has:
                key = "server" if of_server > has or not count else "clients"
                who = " and ".join(
                    ["the server with its run"] * bool(of_server) + [f"{count} client{'s' * (count > 1)}"] * bool(count)
                )
                problems.append(
                    Problem(
                        "storage" if unit == "disk" else f"{key}.resources.{unit}",
                        f"{asked} {measure}",
                        f"node {name} has {has} for {who}; ask less or place elsewhere",
                    )
                )
    return problems


def _privacy(spec: Testbed) -> list[Problem]:
    p, problems = spec.privacy, []
    if p.composition != "basic" and p.delta is None:
        problems.append(
            Problem("privacy.delta", "missing", f"composition {p.composition} needs a delta, such as 1.0e-5")
        )
    if p.labels == "private" and p.label_epsilon is None:
        problems.append(Problem("privacy.label_epsilon", "missing", "private labels need an epsilon of their own"))
    if p.labels == "public" and p.label_epsilon is not None:
        problems.append(
            Problem(
                "privacy.label_epsilon",
                str(p.label_epsilon),
                "labels are public; remove it or set labels: private",
            )
        )
    if p.disjoint is not None and spec.dataset.partition == "none":
        problems.append(Problem("privacy.disjoint", repr(p.disjoint), "needs dataset.partition iid or dirichlet"))
    if p.disjoint is not None and spec.dataset.partition == "dirichlet" and p.labels == "private":
        problems.append(
            Problem(
                "privacy.disjoint",
                repr(p.disjoint),
                "a Dirichlet partition depends on the labels, which are private here: use dataset.partition iid",
            )
        )
    return problems


def _training(spec: Testbed) -> list[Problem]:
    dp, p, problems = spec.federation.training_dp, spec.privacy, []
    if dp is None:
        return []
    if spec.federation.strategy not in MEANS:
        problems.append(
            Problem(
                "federation.strategy",
                repr(spec.federation.strategy),
                f"federation.training_dp puts its noise on a mean of updates: use {' or '.join(MEANS)}, or remove it",
            )
        )
    if p.composition == "basic" and (p.delta is None or p.delta < dp.delta):
        problems.append(
            Problem(
                "privacy.delta",
                "missing" if p.delta is None else str(p.delta),
                f"federation.training_dp has delta {dp.delta}, and composition basic adds deltas up: "
                "register the datasets with that much or more",
            )
        )
    return problems
