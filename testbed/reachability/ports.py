"""The NICs of every pod template, by Kube-OVN's and Multus' annotations, and the logical switch ports they become.

What cannot be told about a NIC is a doubt, and the doubt is part of the NIC: it may be on any network then.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, sequence
from testbed.reachability import attachments, space
from testbed.reachability.acl import Origin, Rule, ordered
from testbed.reachability.attachments import Selection
from testbed.reachability.bindings import Binding
from testbed.reachability.networks import DEFAULT_SUBNET, Hazard, Subnet
from testbed.reachability.space import Interval
from testbed.workloads import Pod

# Annotations that let a port send or take more than its own address.
LOOSE = ("layer2_forward", "aaps", "vip", "port_vips")
Pinned = tuple[Interval, ...]


@dataclass(frozen=True, eq=False)
class Port:
    """One NIC of a pod on one switch.

    Attributes:
        nic: ``eth0`` or the secondary interface's provider.
        addresses: those it may have; all that its subnet gives when none is pinned.
        secured: port security is on, so it sends only from and takes only its own addresses.
        origin: the field that places it here.
        sure: it is here and nowhere else, in every release.
        upward: rules that its packets meet beside the switch's own, on their way to the router.
    """

    pod: Pod
    nic: str
    subnet: Subnet
    addresses: tuple[Interval, ...]
    secured: bool
    primary: bool
    origin: Origin
    security: Path_
    sure: bool = True
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    upward: tuple[Rule, ...] = ()

    @cached_property
    def arriving(self) -> tuple[Rule, ...]:
        """Rules on packets the switch delivers to this port (to-lport)."""
        return ordered((*self.subnet.to_port, *self.ingress)) if self.ingress else self.subnet.to_port

    @cached_property
    def leaving(self) -> tuple[Rule, ...]:
        """Rules on packets this port sends (from-lport)."""
        return ordered((*self.subnet.from_port, *self.egress)) if self.egress else self.subnet.from_port

    @cached_property
    def rising(self) -> tuple[Rule, ...]:
        """Rules on packets of this port that the switch delivers to its router (to-lport)."""
        return ordered((*self.subnet.to_port, *self.upward)) if self.upward else self.subnet.to_port


@dataclass(frozen=True, eq=False)
class Nic:
    """One NIC of a pod: the ports it may become, and every doubt about it.

    Attributes:
        name: ``eth0`` or its provider.
        ports: one for each switch that some supported release may put it on.
        doubts: each may put it on any network, or on the node's own.
        security: path of its port-security annotation.
    """

    pod: Pod
    name: str
    ports: tuple[Port, ...]
    doubts: tuple[Hazard, ...]
    security: Path_

    @property
    def primary(self) -> bool:
        """Whether it is eth0."""
        return self.name == "eth0"


def _doubt(pod: Pod, path: Path_, reason: str, repair: str) -> Hazard:
    return Hazard(Origin(pod.owner, path), reason, repair)


class Placer:
    """Finds the NICs of pods."""

    def __init__(self, objects: tuple[Object, ...], subnets: Mapping[str, Subnet], bound: Iterable[Binding]) -> None:
        self.subnets = subnets
        self.bound: dict[str, list[Binding]] = defaultdict(list)
        for one in bound:
            self.bound[one.namespace].append(one)
        self.default = [s for s in subnets.values() if s.obj and s.obj.spec.get("default") is True] or [
            subnets[DEFAULT_SUBNET]
        ]
        self.attachments = attachments.declared(objects)
        self.problems = {key: attachments.problem(one) for key, one in self.attachments.items()}
        # Namespaces whose pods take addresses from an IPPool (Kube-OVN pkg/controller/ippool.go and namespace.go).
        namespaces = (o for o in objects if o.kind == "Namespace" and o.group == "")
        self.pooled = {n.name for n in namespaces if n.annotations.get(c.nic_annotation("ip_pool"))}
        for pool in (o for o in objects if o.kind == "IPPool" and o.group == "kubeovn.io"):
            self.pooled |= {str(n) for n in sequence(pool.spec.get("namespaces"))}
        self.by_provider: dict[str, list[Subnet]] = defaultdict(list)
        for net in subnets.values():
            if net.provider != "ovn":
                self.by_provider[net.provider].append(net)

    def nics(self, pod: Pod) -> Iterator[Nic]:
        """Every NIC that some supported release may give ``pod``."""
        if pod.spec.get("hostNetwork") not in (None, False):
            path = pod.path("spec", "hostNetwork")
            origin = Origin(pod.owner, path)
            shared = Hazard(origin, "it shares the node's network", "remove hostNetwork", pod=pod.name)
            yield Nic(pod, "the node's", (), (shared,), path)
        primary = self._nic(pod, None, self._home(pod))
        yield primary
        wanted: list[Selection] = []
        for key in attachments.KEYS:
            try:
                wanted += attachments.selections(pod, key)
            except ValueError as error:
                path = pod.annotation(key)
                text = f"the list of networks cannot be read: {error}"
                doubt = _doubt(pod, path, text, "write it as a JSON list of name and namespace")
                yield Nic(pod, key, (), (doubt,), path)
        times = Counter(one.attachment for one in wanted)
        home = [port.subnet for port in primary.ports]
        seen: dict[str, list[Selection]] = defaultdict(list)
        for one in wanted:
            seen[one.provider].append(one)
            # 1.16 gives each interface of one attachment a provider of its own (pkg/controller/pod.go, nadCounts).
            if times[one.attachment] > 1 and one.interface:
                seen[f"{one.provider}.{one.interface}"].append(one)
        for provider, asking in seen.items():
            yield self._secondary(pod, provider, asking, home)

    def _home(self, pod: Pod) -> list[Subnet | Binding]:
        """Where a NIC lands that names no subnet: a binding where the subnet is not among the resources."""
        bound = self.bound.get(pod.namespace)
        return [self.subnets.get(b.subnet) or b for b in bound] if bound else list(self.default)

    def _secondary(self, pod: Pod, provider: str, asking: list[Selection], home: list[Subnet]) -> Nic:
        first = asking[0]
        path = pod.annotation(first.key)
        doubts = [_doubt(pod, path, *reason) for one in asking for reason in one.doubts]
        where = f"NetworkAttachmentDefinition {first.namespace}/{first.name}"
        reason, placed = self.problems.get(first.attachment, ("", True))
        if first.attachment not in self.attachments:
            doubts.append(
                _doubt(pod, path, f"{where} is not among the resources", "declare it here, or remove it from the list")
            )
        elif reason:
            repair = "attach kube-ovn networks only, each by its own provider"
            doubts.append(_doubt(pod, path, f"{where} {reason}", repair))
        if not placed:
            return Nic(pod, provider, (), tuple(doubts), path)
        return self._nic(pod, provider, self.by_provider.get(first.provider) or home, asking, doubts)

    def _nic(
        self,
        pod: Pod,
        provider: str | None,
        fallback: Iterable[Subnet | Binding],
        asking: Iterable[Selection] = (),
        doubts: Iterable[Hazard] = (),
    ) -> Nic:
        """Place one NIC whose annotations have this provider, None for eth0.

        A pinned address goes to whichever of the named subnet and the namespace's own holds it
        (``pkg/controller/pod.go``, acquireAddress and getNsAvailableSubnets).
        """
        name, found = provider or "eth0", list(doubts)

        def value(field: str) -> Any:
            return pod.annotations.get(c.nic_annotation(field, provider))

        def doubt(field: str, reason: str, repair: str) -> None:
            found.append(_doubt(pod, pod.annotation(c.nic_annotation(field, provider)), reason, repair))

        nets = self._named(pod, provider, fallback, doubt)
        chosen = value("logical_switch") not in (None, "")
        choices, unpinned = self._pinned(pod, value, doubt, provider, asking)
        around = [net for net in self._home(pod) if isinstance(net, Subnet)] if choices else []
        at: dict[str, tuple[Subnet, Origin, list[Interval]]] = {}
        sure = not found and len(choices) < 2
        for pinned in choices:
            key = pod.annotation(c.nic_annotation("ip_address", provider))
            origins = {net.name: (net, origin) for net, origin in nets}
            for net in around:
                origins.setdefault(net.name, (net, Origin(pod.owner, key, f"an address of {net.name}")))
            holding = [one for one in origins.values() if any(_inside(one[0], a) for a in pinned)]
            astray = nets if chosen or not holding else []  # no release is known to leave it there
            sure = sure and bool(holding)
            for net, origin in {one[0].name: one for one in (*holding, *astray)}.values():
                at.setdefault(net.name, (net, origin, []))[2].extend(_addresses(net, pinned))
        for net, origin in nets if unpinned else ():
            at.setdefault(net.name, (net, origin, []))[2].extend(net.free)
        loose = any(value(field) not in (None, "", "false") for field in LOOSE)
        secured = value("port_security") == "true" and not loose
        security = pod.annotation(c.nic_annotation("port_security", provider))
        sure = sure and len(at) == 1
        ports = tuple(
            Port(pod, name, net, tuple(dict.fromkeys(own)), secured, provider is None, origin, security, sure)
            for net, origin, own in at.values()
        )
        return Nic(pod, name, ports, tuple(found), security)

    def _named(
        self, pod: Pod, provider: str | None, fallback: Iterable[Subnet | Binding], doubt: Any
    ) -> list[tuple[Subnet, Origin]]:
        """The subnets a NIC's annotation or, without one, its namespace names."""
        key = c.nic_annotation("logical_switch", provider)
        path, switch = pod.annotation(key), pod.annotations.get(key)
        found = []
        for part in str(switch).split(",") if switch not in (None, "") else ():
            net = self.subnets.get(part.strip())
            if net:
                found.append((net, Origin(pod.owner, path, f"on {net.name}")))
            else:
                repair = f"declare Subnet {part.strip()} here, or name a declared one"
                doubt("logical_switch", f"subnet {part.strip()} is not among the resources", repair)
        for one in fallback if switch in (None, "") else ():
            if isinstance(one, Subnet):
                found.append((one, Origin(pod.owner, path, f"absent, so {one.name}")))
            else:
                reason = f"{one.origin} subnet {one.subnet}, which is not among the resources"
                doubt("logical_switch", reason, f"declare Subnet {one.subnet} here, or name a declared one")
        return found

    def _pinned(
        self, pod: Pod, value: Any, doubt: Any, provider: str | None, asking: Iterable[Selection]
    ) -> tuple[list[Pinned], bool]:
        """The addresses a NIC may be given, one choice a release or an entry, and whether it may be given any other."""
        choices: list[Pinned] = []
        fixed = False
        pool, asking = value("ip_pool"), list(asking)
        entries: list[tuple[Any, str]] = [(value("ip_address"), "ip_address")]
        entries += [(",".join(one.ips), "ip_address") for one in asking if one.ips]
        if pool not in (None, "") and _listed(pool):
            entries += [(part, "ip_pool") for part in re.split("[;,]", str(pool))]
        elif pool not in (None, "") or (provider is None and not value("ip_address") and pod.namespace in self.pooled):
            why = "it takes its address from an IPPool, which may be of another subnet"
            doubt("ip_pool", why, "give its address by ip_address instead, and remove the pool")
        for text, field in entries:
            if text in (None, ""):
                continue
            try:
                choices.append(space.networks(text))
                fixed = True
            except ValueError:
                doubt(field, "its address cannot be read", "give one address, or remove the annotation")
        for one in asking:  # 1.16 alone reads these, so what the others give stays possible
            key = one.per_interface("ip_address")
            if one.interface and pod.annotations.get(key) not in (None, ""):
                try:
                    choices.append(space.networks(pod.annotations[key]))
                except ValueError:
                    doubt("ip_address", f"the address in {key} cannot be read", f"remove {key}")
        return choices, not fixed


def _listed(pool: Any) -> bool:
    """Whether an ``ip_pool`` names no IPPool, but a list of addresses, each in its subnet or refused."""
    return all(space.is_address(part.strip()) for part in re.split("[;,]", str(pool)))


def _inside(net: Subnet, address: Interval) -> bool:
    return any(low <= address[0] and address[1] <= high for low, high in net.cidrs)


def _addresses(net: Subnet, pinned: Pinned) -> Pinned:
    """The pinned addresses; with the whole subnet's when one lies outside it, since then another may be given."""
    return pinned if all(_inside(net, a) for a in pinned) else (*pinned, *net.free)
