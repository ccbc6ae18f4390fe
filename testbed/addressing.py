"""The address plan: a pure function of the slot, so that adding a client moves nobody."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from testbed.placement import group, groups
from testbed.spec import Client, Testbed

GATEWAY, SERVER, FIRST_CLIENT = 1, 2, 3  # host numbers within a subnet


@dataclass(frozen=True)
class Link:
    """One client network: its subnet, gateway and the server's address on it."""

    group: str
    index: int  # the server's interface is net<index>
    cidr: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        """The subnet's gateway address."""
        return self.cidr[GATEWAY]

    @property
    def server(self) -> IPv4Address:
        """The server's address on this link."""
        return self.cidr[SERVER]

    @property
    def interface(self) -> str:
        """The server's interface on this link."""
        return f"net{self.index}"


def hosts_needed(spec: Testbed) -> int:
    """Addresses one client network must hold: network, gateway, server, its clients, their releases, broadcast."""
    return 4 + 2 * places(spec)


def places(spec: Testbed) -> int:
    """Clients one client network is laid out for."""
    return 1 if spec.isolation == "client" else spec.capacity


def links(spec: Testbed) -> tuple[Link, ...]:
    """Every client network with its addresses, in order of the server's interfaces."""
    step = 2 ** (32 - spec.network.prefix)
    base = int(spec.network.clients.network_address)
    return tuple(
        Link(name, i, IPv4Network((base + (i - 1) * step, spec.network.prefix)))
        for i, name in enumerate(groups(spec), 1)
    )


def link_of(spec: Testbed, client: Client) -> Link:
    """The network a client is on."""
    name = group(spec, client)
    return next(link for link in links(spec) if link.group == name)


def reserved(spec: Testbed, link: Link) -> str:
    """Addresses of a client network never given out on demand, as Kube-OVN's ``excludeIps`` writes a range.

    The gateway's, the server's and every client's: a release that starts before them must not take one.
    """
    return f"{link.gateway}..{link.cidr[FIRST_CLIENT + places(spec) - 1]}"


def client_address(spec: Testbed, client: Client) -> IPv4Address:
    """A client's address: fixed by its slot alone within its network."""
    offset = 0 if spec.isolation == "client" else client.slot - 1
    return link_of(spec, client).cidr[FIRST_CLIENT + offset]


def server_address(spec: Testbed) -> IPv4Address:
    """The server's address on its own subnet (eth0)."""
    return spec.network.server[SERVER]


def server_gateway(spec: Testbed) -> IPv4Address:
    """The gateway of the server's subnet."""
    return spec.network.server[GATEWAY]


def server_reserved(spec: Testbed) -> str:
    """Addresses of the server's subnet never given out on demand: the gateway's and the server's."""
    return f"{server_gateway(spec)}..{server_address(spec)}"


def server_addresses(spec: Testbed) -> tuple[IPv4Address, ...]:
    """Every address of the server, eth0 first: what its certificate must name."""
    return (server_address(spec), *(link.server for link in links(spec)))
