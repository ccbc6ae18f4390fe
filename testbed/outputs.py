"""What the testbed's team is told: plain data about a declared testbed.

Keys say their unit; epsilons and budgets are exact decimal strings.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from testbed import addressing, naming, placement
from testbed.budget import total
from testbed.commands import Release
from testbed.grants import grant
from testbed.releases import release
from testbed.spec import Client, Testbed, TrainingDp


def client(spec: Testbed, one: Client) -> dict[str, Any]:
    """Where a client is and what its data costs: for its release, and apart from it for noise on a run's models."""
    link, made, granted = addressing.link_of(spec, one), release(spec, one), grant(spec, one)
    return {
        "namespace": naming.client_namespace(spec.name, one.id),
        "node": naming.host(one.node),
        "slot": one.slot,
        "vpc": naming.vpc(spec.name, link.group),
        "subnet": naming.subnet(spec.name, link.group),
        "cidr": str(link.cidr),
        "address": str(addressing.client_address(spec, one)),
        "serverAddress": f"{link.server}:{spec.server.port}",
        "dataset": made.dataset,
        "claim": made.claim,
        "mechanism": made.mechanism,
        "epsilon": decimal(made.total_epsilon),
        "trainingClaim": granted.claim if granted else None,
        "trainingEpsilon": decimal(granted.epsilon) if granted else None,
        "trainingDelta": decimal(granted.delta) if granted else None,
        "budget": decimal(spec.privacy.budget),
    }


def server(spec: Testbed) -> dict[str, Any]:
    """Where the server is met."""
    return {
        "namespace": naming.server_namespace(spec.name),
        "node": naming.host(spec.server.node),
        "address": f"{addressing.server_address(spec)}:{spec.server.port}",
        "endpoint": endpoint(spec),
        "port": spec.server.port,
        "nodePort": spec.server.node_port,
        "links": {link.group: str(link.server) for link in addressing.links(spec)},
    }


def endpoint(spec: Testbed) -> str:
    """``host:port`` of the SuperLink from outside the cluster; its certificate names the host."""
    return f"{naming.host(spec.server.node)}:{spec.server.node_port}"


def flower_config(spec: Testbed) -> str:
    """Return the block of ``$FLWR_HOME/config.toml`` by which ``flwr run . <testbed>`` reaches the SuperLink."""
    return (
        f"[superlink.{spec.name}]\n"
        f'address = "{endpoint(spec)}"\n'
        f"# `pulumi stack output caCertificate` in a file; Flower wants its absolute path.\n"
        f'root-certificates = "/etc/kubeflower/{spec.name}-ca.crt"\n'
    )


def isolation(spec: Testbed) -> dict[str, dict[str, str]]:
    """Who may reach whom, by the declared groups: ``isolated``, ``shared network``, ``allowed`` or ``self``."""
    clients = placement.clients(spec)
    table = {naming.SERVER: {naming.SERVER: "self"} | {one.id: "allowed" for one in clients}}
    for one in clients:
        row = {naming.SERVER: "allowed"}
        for other in clients:
            shared = placement.group(spec, one) == placement.group(spec, other)
            row[other.id] = "self" if one.id == other.id else "shared network" if shared else "isolated"
        table[one.id] = row
    return table


def privacy(spec: Testbed) -> dict[str, Any]:
    """What the declared releases cost and, never added to it, what the declared run's training does.

    Clients of one dataset add up, unless it is asserted that they hold disjoint records: then their maximum counts
    (parallel composition, McSherry 2009, theorem 4). The sum over datasets and releases is basic composition, an upper
    bound of what ``advanced`` and ``zcdp`` account for.
    """
    p, training = spec.privacy, spec.federation.training_dp
    costs: dict[str, dict[str, Release]] = {}
    for one in placement.clients(spec):
        made = release(spec, one)
        costs.setdefault(made.dataset, {})[one.id] = made
    datasets, whole, shares = {}, Decimal(0), 0
    for name, made_by in sorted(costs.items()):
        epsilons = [made.total_epsilon for made in made_by.values()]
        parallel = all(made.disjoint is not None and made.partition is not None for made in made_by.values())
        cost, share = (max(epsilons), 1) if parallel else (total(epsilons), len(epsilons))
        whole, shares = whole + cost, shares + share
        datasets[name] = {
            "epsilon": decimal(cost),
            "rule": "maximum over disjoint clients" if parallel else "sum over clients",
            "clients": {client: decimal(made.total_epsilon) for client, made in made_by.items()},
            "training": _training(training, share),
        }
    return {
        "composition": p.composition,
        "budget": decimal(p.budget),
        "testbedBudget": decimal(p.testbed_budget or p.budget),
        "disjoint": p.disjoint,
        "notCovered": not_covered(spec),
        "datasets": datasets,
        "epsilon": decimal(whole),
        "training": _training(training, shares),
    }


def not_covered(spec: Testbed) -> list[str]:
    """What leaves the clients under no claim at all, in words; empty when there is nothing."""
    found = []
    if spec.privacy.labels == "public":
        found.append("labels, and how many records have which: they are released in clear")
        found.append("each round's loss, accuracy and train-loss: they depend on labels in clear")
    elif spec.federation.training_dp:
        found.append(
            "each round's loss, accuracy and train-loss beside a run's noise: the releases' claim alone covers them"
        )
    if spec.privacy.mechanism == "paper" or any(one.privacy.mechanism == "paper" for one in placement.clients(spec)):
        found.append("releases by mechanism paper: it makes no claim")
    return found


def _training(one: TrainingDp | None, shares: int) -> dict[str, str] | None:
    """What ``shares`` clients whose costs add up pay for a run; each pays the same."""
    return {"epsilon": decimal(one.epsilon * shares), "delta": decimal(one.delta * shares)} if one else None


def nodes(spec: Testbed) -> dict[str, list[str]]:
    """Which clients run on which node."""
    found: dict[str, list[str]] = {naming.host(node.name): [] for node in spec.nodes}
    for one in placement.clients(spec):
        found[naming.host(one.node)].append(one.id)
    return found


def decimal(value: Decimal) -> str:
    """Write an epsilon exactly, without an exponent."""
    return format(value.normalize(), "f")
