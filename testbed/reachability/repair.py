"""The smallest change of declared fields that isolates a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from testbed import contract as c
from testbed.edits import Edit, apply
from testbed.manifests import Object, mapping, sequence
from testbed.reachability import groups, model, space, verdicts
from testbed.reachability.groups import Isolation
from testbed.reachability.verdicts import Pair
from testbed.workloads import Pod, get, is_workload

MAX_EDITS = 8


def _same(pods: Sequence[Pod], pod: Pod) -> Pod | None:
    return next((p for p in pods if p.owner.key == pod.owner.key), None)


def verdict(objects: Sequence[Object], isolation: Isolation, pair: Pair) -> Pair:
    """The pair's verdict in a changed set of objects."""
    built = model.build(objects)
    declared, _ = groups.decide(objects, built.pods, isolation)
    source, target = _same(built.pods, pair.source), _same(built.pods, pair.target)
    if source is None or target is None:
        return replace(pair, verdict="isolated")
    found = verdicts.decide(built, declared, [source]).found
    return found.get((source, target)) or Pair(source, target, "isolated")


_built = lru_cache(maxsize=1)(model.build)  # several pairs of one testbed are repaired one after another


def near(objects: Sequence[Object], pair: Pair) -> list[Object]:
    """The objects that matter to a pair: without the workloads of clients that are on none of its networks."""
    keep = {pair.source.owner.key, pair.target.owner.key}
    built = _built(tuple(objects))
    nets = {port.subnet.name for port in built.ports if port.pod.owner.key in keep}
    keep |= {port.pod.owner.key for net in nets for port in built.on_subnet[net]}
    others = {p.owner.key for p in built.pods if p.client and p.owner.key not in keep}
    return [o for o in objects if not (is_workload(o) and o.key in others)]


def _of_hops(pair: Pair) -> Iterator[Edit]:
    """Changes of the fields that let the packet pass, the least intrusive first."""
    fields = [(h.origin.obj, h.origin.path) for h in pair.path if h.origin and h.origin.obj]
    for obj, path in fields:
        if obj and path and isinstance(path[-1], str) and path[-1].endswith("/port_security"):
            yield Edit("set", obj.key, path, "true")
            for key in mapping(get(obj.body, path[:-1])):
                if key.rpartition("/")[0] == path[-1].rpartition("/")[0] and key.rpartition("/")[2] in LOOSE:
                    yield Edit("remove", obj.key, (*path[:-1], key))
    for obj, path in fields:
        if (
            obj
            and obj.kind in ("Vpc", "Subnet", "NetworkPolicy", "SecurityGroup")
            and isinstance(path[-1] if path else None, int)
        ):
            yield Edit("remove", obj.key, path)
    for obj, path in fields:
        if (
            obj
            and obj.kind == "Subnet"
            and path in (("spec", "private"), ("spec", "vpc"))
            and obj.spec.get("private") is not True
        ):
            yield Edit("set", obj.key, ("spec", "private"), True)
        if obj and path and path[-1] in ("hostNetwork", "hostPID", "privileged"):
            yield Edit("set", obj.key, path, False)
        if obj and ("capabilities" in path or (path and str(path[-1]).endswith("/security_groups"))):
            yield Edit("remove", obj.key, path)


LOOSE = ("layer2_forward", "aaps", "vip", "port_vips")


def _apart(objects: Sequence[Object], pod: Pod) -> tuple[Edit, ...]:
    """Give a client's pod one NIC, on a VPC and private subnet of its own."""
    taken = [
        space.networks(o.spec["cidrBlock"])
        for o in objects
        if o.kind == "Subnet" and _readable(o.spec.get("cidrBlock"))
    ]
    base = space.network("10.200.0.0")[0]
    while any(low <= base + 15 and base <= high for cidrs in taken for low, high in cidrs):
        base += 16
    name = f"{(pod.client or 'client').replace('/', '-')}-{pod.owner.name}"
    cidr, gateway = f"{space.text(base)}/28", space.text(base + 1)
    vpc = {
        "apiVersion": "kubeovn.io/v1",
        "kind": "Vpc",
        "metadata": {"name": f"{name}-vpc"},
        "spec": {"namespaces": [pod.namespace]},
    }
    net = {
        "apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": f"{name}-net"},
        "spec": {
            "vpc": f"{name}-vpc", "protocol": "IPv4", "cidrBlock": cidr, "gateway": gateway, "excludeIps": [gateway],
            "provider": "ovn", "private": True, "allowSubnets": [], "namespaces": [pod.namespace],
            "natOutgoing": False, "disableInterConnection": True, "disableGatewayCheck": True,
        },
    }  # fmt: skip
    edits = [
        Edit("create", ("kubeovn.io", "Vpc", "", f"{name}-vpc"), (), vpc),
        Edit("create", ("kubeovn.io", "Subnet", "", f"{name}-net"), (), net),
        Edit("set", pod.owner.key, pod.annotation(c.nic_annotation("logical_switch")), f"{name}-net"),
        Edit("set", pod.owner.key, pod.annotation(c.nic_annotation("port_security")), "true"),
    ]
    gone = [
        c.nic_annotation("ip_address"),
        c.MULTUS_NETWORKS,
        *(c.nic_annotation(k) for k in (*LOOSE, "security_groups")),
    ]
    edits += [Edit("remove", pod.owner.key, pod.annotation(key)) for key in gone if key in pod.annotations]
    return tuple(edits)


def _readable(value: object) -> bool:
    try:
        space.networks(value)
    except ValueError:
        return False
    return True


def _without_nics(pair: Pair) -> Iterator[Edit]:
    """Take a pod's secondary network away, entry by entry, when the packet uses it."""
    for pod in (pair.source, pair.target):
        value = pod.annotations.get(c.MULTUS_NETWORKS)
        if value and sequence(value) != value:
            yield Edit("remove", pod.owner.key, pod.annotation(c.MULTUS_NETWORKS))


def repair(objects: Sequence[Object], isolation: Isolation, pair: Pair) -> tuple[Edit, ...]:
    """Edits after which the pair is isolated: one when one is enough, else as few as the search finds.

    Each try is judged again on the changed objects, so what is returned works.
    """
    objects = near(objects, pair)
    done: list[Edit] = []
    current = pair
    for _ in range(MAX_EDITS):
        tries = [*dict.fromkeys(map(_Hashable, (*_of_hops(current), *_without_nics(current))))]
        for one in tries:
            if verdict(apply(objects, [*done, one.edit]), isolation, pair).verdict == "isolated":
                return _least(objects, isolation, pair, [*done, one.edit])
        if not tries:
            break
        after = verdict(apply(objects, [*done, tries[0].edit]), isolation, pair)
        done.append(tries[0].edit)
        if after.verdict != "reachable":
            break
        current = after
    for pod in (pair.source, pair.target):
        edits = _apart(objects, pod)
        if verdict(apply(objects, edits), isolation, pair).verdict == "isolated":
            return edits
    edits = (*_apart(objects, pair.source),)
    edits = (*edits, *_apart(apply(objects, edits), pair.target))
    return edits if verdict(apply(objects, edits), isolation, pair).verdict == "isolated" else ()


class _Hashable:
    """An edit compared by what it does."""

    def __init__(self, edit: Edit) -> None:
        self.edit, self.identity = edit, (edit.op, edit.key, edit.path, repr(edit.value))

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashable) and self.identity == other.identity


def _least(objects: Sequence[Object], isolation: Isolation, pair: Pair, edits: list[Edit]) -> tuple[Edit, ...]:
    """Drop every edit that is not needed."""
    for edit in list(edits):
        rest = [e for e in edits if e is not edit]
        if rest and verdict(apply(objects, rest), isolation, pair).verdict == "isolated":
            edits = rest
    return tuple(edits)
