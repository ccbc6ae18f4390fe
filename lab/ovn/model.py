"""The northbound configuration of OVN as an immutable value.

Two configurations are equal when they describe the same network, whatever the order in which their rows were written.
Columns are those of OVN's schema (``ovn-nb(5)``); only the ones Kube-OVN writes are here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Acl:
    """A row of ``ACL``. ``after_lb`` is the option ``apply-after-lb`` of egress rules."""

    direction: str
    priority: int
    match: str
    action: str
    after_lb: bool = False


@dataclass(frozen=True, order=True)
class Route:
    """A row of ``Logical_Router_Static_Route``; ``policy`` is ``src-ip`` or ``dst-ip``."""

    prefix: str
    nexthop: str
    policy: str = "dst-ip"
    table: str = ""


@dataclass(frozen=True, order=True)
class Policy:
    """A row of ``Logical_Router_Policy``."""

    priority: int
    match: str
    action: str
    nexthops: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class SwitchPort:
    """A row of ``Logical_Switch_Port``; ``router_port`` is set on ports of type ``router``."""

    name: str
    switch: str
    addresses: tuple[str, ...]
    port_security: tuple[str, ...] = ()
    router_port: str = ""


@dataclass(frozen=True, order=True)
class RouterPort:
    """A row of ``Logical_Router_Port``."""

    name: str
    router: str
    mac: str
    networks: tuple[str, ...]
    peer: str = ""


@dataclass(frozen=True, order=True)
class Switch:
    """A row of ``Logical_Switch``."""

    name: str
    acls: frozenset[Acl] = frozenset()


@dataclass(frozen=True, order=True)
class Router:
    """A row of ``Logical_Router``."""

    name: str
    routes: frozenset[Route] = frozenset()
    policies: frozenset[Policy] = frozenset()


@dataclass(frozen=True, order=True)
class PortGroup:
    """A row of ``Port_Group``; OVN keeps the address sets ``<name>_ip4`` and ``<name>_ip6`` of its ports itself."""

    name: str
    ports: frozenset[str] = frozenset()
    acls: frozenset[Acl] = frozenset()


@dataclass(frozen=True, order=True)
class AddressSet:
    """A row of ``Address_Set``."""

    name: str
    addresses: frozenset[str] = frozenset()


@dataclass(frozen=True, order=True)
class Untranslated:
    """Something Kube-OVN would act on and this translation does not.

    Attributes:
        object: ``Kind/name`` or ``Kind/namespace/name``.
        field: path within the object; empty when the whole object is meant.
        reason: what it would do.
    """

    object: str
    field: str
    reason: str


@dataclass(frozen=True)
class Northbound:
    """A whole northbound configuration, and what of its sources it leaves out."""

    switches: frozenset[Switch] = frozenset()
    routers: frozenset[Router] = frozenset()
    switch_ports: frozenset[SwitchPort] = frozenset()
    router_ports: frozenset[RouterPort] = frozenset()
    port_groups: frozenset[PortGroup] = frozenset()
    address_sets: frozenset[AddressSet] = frozenset()
    untranslated: tuple[Untranslated, ...] = ()

    def port(self, name: str) -> SwitchPort:
        """The switch port of this name.

        Raises:
            KeyError: there is none.
        """
        for port in self.switch_ports:
            if port.name == name:
                return port
        raise KeyError(name)
