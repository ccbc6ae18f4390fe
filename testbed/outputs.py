"""What the testbed's team is told: plain data about a declared testbed.

Keys say their unit; epsilons and budgets are exact decimal strings.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from contract.composition import Charge, delta_spent, spent
from contract.decimals import plain
from testbed import addressing, naming, placement
from testbed.commands import Grant, Release
from testbed.grants import grant
from testbed.releases import release
from testbed.spec import Client, Testbed


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
        "epsilon": plain(made.total_epsilon),
        "trainingClaim": granted.claim if granted else None,
        "trainingEpsilon": plain(granted.epsilon) if granted else None,
        "trainingDelta": plain(granted.delta) if granted else None,
        "budget": plain(spec.privacy.budget),
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
    """What the declared releases cost by the declared rule, and apart from them the declared run's training.

    Clients of one dataset add up, unless it is asserted that they hold disjoint records: then a record is in one part
    alone. The figures are those of the policies and the ledgers (``contract.composition``).
    """
    p, clients = spec.privacy, placement.clients(spec)
    made = {one.id: release(spec, one) for one in clients}
    costs = {one.id: _charge(made[one.id]) for one in clients}
    granted = {one.id: found for one in clients if (found := grant(spec, one))}
    noises = {id_: _training_charge(one, made[id_]) for id_, one in granted.items()}
    datasets = {}
    for name in sorted({one.dataset for one in made.values()}):
        members = [id_ for id_, one in made.items() if one.dataset == name]
        datasets[name] = {
            "epsilon": plain(spent([costs[id_] for id_ in members], p.composition, p.delta)),
            "rule": "maximum over disjoint clients" if all(costs[x].family for x in members) else "sum over clients",
            "clients": {id_: plain(made[id_].total_epsilon) for id_ in members},
            "training": _training(spec, [noises[id_] for id_ in members if id_ in noises]),
        }
    return {
        "composition": p.composition,
        "budget": plain(p.budget),
        "testbedBudget": plain(p.testbed_budget or p.budget),
        "disjoint": p.disjoint,
        "notCovered": not_covered(spec),
        "datasets": datasets,
        "epsilon": plain(spent(costs.values(), p.composition, p.delta)),
        "training": _training(spec, list(noises.values())),
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


def _charge(made: Release) -> Charge:
    """What a release costs a record; in parallel with the other parts where they are asserted disjoint."""
    part = made.partition
    if part is None or made.disjoint is None:
        return Charge(made.total_epsilon)
    return Charge(made.total_epsilon, family=f"{made.dataset} {part.scheme}", part=part.index)


def _training_charge(granted: Grant, made: Release) -> Charge:
    cost = _charge(made)
    return Charge.of_run(granted.run, granted.epsilon, granted.delta, family=cost.family, part=cost.part)


def _training(spec: Testbed, noises: list[Charge]) -> dict[str, str] | None:
    """What a run's training comes to on the record that loses most."""
    if not noises:
        return None
    p = spec.privacy
    delta = delta_spent(noises) if p.composition == "basic" else p.delta
    return {"epsilon": plain(spent(noises, p.composition, p.delta)), "delta": plain(delta or Decimal(0))}


def nodes(spec: Testbed) -> dict[str, list[str]]:
    """Which clients run on which node."""
    found: dict[str, list[str]] = {naming.host(node.name): [] for node in spec.nodes}
    for one in placement.clients(spec):
        found[naming.host(one.node)].append(one.id)
    return found
