"""The networks of a set of objects as a Mermaid diagram."""

from __future__ import annotations

from collections.abc import Iterator

from testbed import contract as c
from testbed.reachability.verdicts import Result
from testbed.workloads import Pod

DRAWN = 40  # clients; a larger diagram is not readable and GitHub refuses it


def mermaid(result: Result) -> str:
    """Subnets inside their VPCs, who is plugged into them, and every path between clients in red.

    Clients beyond the fortieth are left out, with a note; a client that can be reached or reach another never is.
    """
    return "\n".join(["flowchart LR", *(f"  {line}" for line in _lines(result))])


def _owner(pod: Pod) -> str | None:
    """What a pod is drawn as: its client, the server, or nothing for the short-lived pods."""
    if pod.client:
        return short(pod.client)
    return "server" if pod.role == c.ROLE_SERVER else None


def _lines(result: Result) -> Iterator[str]:
    exposed = {name for pair in result.found.values() for pod in (pair.source, pair.target) if (name := _owner(pod))}
    clients = sorted({short(p.client) for p in result.model.pods if p.client}, key=natural)
    kept = {*exposed, *clients[:DRAWN], "server"}
    plugs = {(owner, port.subnet.name) for port in result.model.ports if (owner := _owner(port.pod)) in kept}
    ids = {name: f"n{i}" for i, name in enumerate(sorted({owner for owner, _ in plugs if owner}, key=natural))}
    members = {name for _, name in plugs}
    used = {s.name: s for s in result.model.subnets.values() if s.name in members}
    shown = {name for owner, name in plugs if owner != "server"} or set(used)
    subnets = {name: f"s{i}" for i, name in enumerate(sorted(used)) if name in shown or _is_eth0(result, name)}
    for owner, key in ids.items():
        yield f"{key}([{owner}])" if owner == "server" else f"{key}[{owner}]"
    for name, key in subnets.items():
        yield f'{key}{{{{"{name}<br/>VPC {used[name].vpc}"}}}}'
    for owner, name in sorted(plugs, key=str):
        if owner and name in subnets:
            yield f"{ids[owner]} --- {subnets[name]}"
    crossing = {(_owner(p.source), _owner(p.target)) for p in result.found.values()}
    edges = sorted((a, b) for a, b in crossing if a in ids and b in ids)
    yield from (f"{ids[a]} -. reaches .-> {ids[b]}" for a, b in edges)
    if edges:
        first = sum(1 for _, name in plugs if name in subnets)
        yield f"linkStyle {','.join(str(first + i) for i in range(len(edges)))} stroke:#c0392b,stroke-width:3px"
    if len(clients) > len(kept) - 1:
        yield f'more["… {len(clients) - DRAWN} more clients"]'


def _is_eth0(result: Result, subnet: str) -> bool:
    return any(port.primary and port.subnet.name == subnet for port in result.model.ports)


def short(client: str) -> str:
    """A client's id, without its testbed's name."""
    return client.rpartition("/")[2]


def natural(name: str) -> tuple[str, int, str]:
    """Key that orders c2 before c10."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or -1), name
