"""no-cross-client-route: no packet passes from one client to another."""

from __future__ import annotations

from testbed.reachability.networks import DEFAULT_SUBNET
from testbed.reachability.repair import repair
from testbed.reachability.verdicts import Pair
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.workloads import owner

NAME = "no-cross-client-route"
REPAIRED = 8  # violations that get a searched repair; the rest say how many follow
SHOWN = 100


def witness(pair: Pair) -> tuple[str, ...]:
    """The way of a packet, hop by hop."""
    return (*(f"{hop.at}: {hop.why}" for hop in pair.path), pair.target.name)


def _reachable(context: Context) -> list[Violation]:
    pairs = [p for p in context.reachability.found.values() if p.verdict == "reachable"]
    pairs.sort(key=lambda p: (p.source.name, p.target.name))
    found = []
    for index, pair in enumerate(pairs[:SHOWN]):
        edits = repair(context.model.objects, context.config.network.isolation, pair) if index < REPAIRED else ()
        blamed = next(
            (h.origin for h in pair.path if h.origin and h.origin.obj and h.origin.path[:1] != ("metadata",)), None
        )
        if edits and edits[0].op != "create":
            touched = [h.origin for h in pair.path if h.origin and h.origin.obj and h.origin.obj.key == edits[0].key]
            blamed = touched[0] if touched else blamed
        obj, path = (blamed.obj, blamed.path) if blamed else (pair.source.owner, ())
        text = (
            "; ".join(map(str, edits))
            or "give each client a VPC and a private subnet of its own, and repair the pairs above first"
        )
        message = f"{pair.source.name} reaches {pair.target.name} ({pair.via})"
        found.append(violation(NAME, obj, path, message, text, witness=witness(pair), edits=edits))
    if len(pairs) > SHOWN:
        message = f"{len(pairs) - SHOWN} more pairs are reachable" + (
            "" if context.reachability.complete else ", at least"
        )
        found.append(violation(NAME, None, (), message, "repair the pairs above first"))
    return found


def _flat(context: Context) -> list[Violation]:
    """A client on the cluster's default subnet shares it with whatever else runs there."""
    found = []
    for port in context.model.ports:
        shared = (
            port.subnet.obj is None or port.subnet.name == DEFAULT_SUBNET or port.subnet.obj.spec.get("default") is True
        )
        if port.pod.client and shared:
            message = (
                f"a NIC of client {port.pod.client} is on {port.subnet.name}, the network of every pod that names none"
            )
            text = "put it on the client's own private subnet"
            found.append(violation(NAME, port.pod.owner, port.origin.path, message, text, witness=(str(port.origin),)))
    return found


def _shared(context: Context) -> list[Violation]:
    """Two clients on one network that no group lets share it, whatever else keeps them apart."""
    found = []
    for name in sorted(context.model.client_subnets):
        owners, net = list(context.sharers.get(name, {}).values()), context.model.subnets[name].obj
        if len(owners) < 2 or net is None:
            continue
        clients = sorted({one.client for one in owners})
        named = ", ".join(clients[:4]) + (" ..." if len(clients) > 4 else "")
        message = f"clients {named} share network {name}; a policy on top of it is no network of their own"
        text = "put each client on the private subnet of its own VPC"
        lines = tuple(str(one.origin) for one in owners)[:8]
        _, kept = owner({}, net.labels)  # the client it is kept for is not to blame
        blamed = next((one for one in owners if kept and one.network != kept), owners[-1])
        found.append(violation(NAME, blamed.obj, blamed.origin.path, message, text, witness=lines))
    return found


def check(context: Context) -> list[Violation]:
    """Refuse every way from one client to another."""
    found = [*_reachable(context), *_shared(context), *_flat(context)]
    for origin, message in context.group_problems:
        found.append(
            violation(NAME, origin.obj, origin.path, message, "declare isolation: client, or place the group together")
        )
    return found
