"""Which namespaces Kube-OVN binds to which subnets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, mapping, sequence
from testbed.reachability.acl import Origin
from testbed.reachability.networks import Subnet
from testbed.selectors import selects


@dataclass(frozen=True, eq=False)
class Binding:
    """Pods of a namespace may be put on a subnet.

    Attributes:
        subnet: its name; it may not be among the objects.
        origin: the field that binds.
    """

    namespace: str
    subnet: str
    origin: Origin


def namespace_labels(name: str, namespaces: Mapping[str, Object]) -> dict[str, Any]:
    """A namespace's labels, with the one that the API server gives each.

    Kubernetes pkg/apis/core/v1/defaults.go, SetDefaults_Namespace.
    """
    declared = namespaces[name].labels if name in namespaces else {}
    return {**declared, c.LABEL_NAMESPACE_NAME: name}


def names(selector: Mapping[str, Any]) -> frozenset[str] | None:
    """The only namespaces a selector may match, None when their labels decide, which are in no manifest for certain."""
    wanted = mapping(selector.get("matchLabels")).get(c.LABEL_NAMESPACE_NAME)
    if wanted is not None:
        return frozenset({str(wanted)})
    for part in map(mapping, sequence(selector.get("matchExpressions"))):
        if part.get("key") == c.LABEL_NAMESPACE_NAME and part.get("operator") == "In":
            return frozenset(map(str, sequence(part.get("values"))))
    return None


def _of_subnet(
    net: Subnet, labels: Mapping[str, Mapping[str, Any]], declared: Mapping[str, Object]
) -> Iterator[Binding]:
    spec = net.obj.spec if net.obj else {}
    for index, name in enumerate(sequence(spec.get("namespaces"))):
        yield Binding(str(name), net.name, Origin(net.obj, ("spec", "namespaces", index), f"binds {name}"))
    for index, selector in enumerate(sequence(spec.get("namespaceSelectors"))):
        origin = Origin(net.obj, ("spec", "namespaceSelectors", index))
        for name, marks in labels.items():
            if selects(mapping(selector), marks, partly=name not in declared).may:
                yield Binding(name, net.name, Origin(origin.obj, origin.path, f"may select {name}"))


def _of_vpc(vpc: Object, marked: Iterable[str]) -> Iterator[Binding]:
    """A VPC's namespaces, when they have no subnet: Kube-OVN ``pkg/controller/vpc.go``, getVpcSubnets."""
    default = vpc.spec.get("defaultSubnet")
    nets = dict.fromkeys([*([str(default)] if default else []), *marked])
    for name in map(str, sequence(vpc.spec.get("namespaces"))):
        for net in nets:
            path = ("spec", "defaultSubnet") if net == default else ("spec", "namespaces")
            yield Binding(name, net, Origin(vpc, path, f"gives {name} its default subnet {net}"))


def bindings(
    namespaces: Mapping[str, Object], used: Iterable[str], subnets: Mapping[str, Subnet], vpcs: Iterable[Object]
) -> tuple[Binding, ...]:
    """Every binding, each pair of namespace and subnet once (Kube-OVN ``pkg/controller/namespace.go``).

    Args:
        namespaces: the declared ones.
        used: those of any object; one that is not declared has labels that nobody sees here.
        subnets: every switch.
        vpcs: the Vpc objects.
    """
    labels = {name: namespace_labels(name, namespaces) for name in sorted({*namespaces, *used})}
    found: dict[tuple[str, str], Binding] = {}

    def add(some: Iterable[Binding]) -> None:
        for one in some:
            found.setdefault((one.namespace, one.subnet), one)

    for net in subnets.values():
        add(_of_subnet(net, labels, namespaces))
    marked: dict[str, list[str]] = defaultdict(list)
    for net in subnets.values():
        if net.obj and net.obj.spec.get("default") is True:
            marked[net.vpc].append(net.name)
    for vpc in vpcs:
        add(_of_vpc(vpc, marked[vpc.name]))
    key = c.nic_annotation("logical_switch")
    for name, obj in namespaces.items():
        for part in str(obj.annotations.get(key) or "").split(","):
            if part.strip():
                origin = Origin(obj, ("metadata", "annotations", key), f"binds {name}")
                add([Binding(name, part.strip(), origin)])
    return tuple(found.values())
