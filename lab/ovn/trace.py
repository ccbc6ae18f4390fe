"""OVN's own answer to "where does this packet go", without any packet: ``ovn-trace`` on a database of its own.

Needs no root and no network namespace. Source: ``ovn-trace(8)``.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

from lab.group import Group
from lab.ovn import northbound
from lab.ovn.addresses import gateway_mac
from lab.ovn.daemons import Sockets, central, command
from lab.ovn.model import Northbound, SwitchPort
from lab.paths import Paths

STAGES = 16  # more conntrack stages than any way through two routers has


class Oracle:
    """Answers questions about northbound configurations; a context manager that runs OVN's databases and northd.

    Args:
        folder: an empty folder for sockets, databases and logs.
    """

    def __init__(self, folder: Path) -> None:
        self._group = Group(Paths(folder))
        self.at = Sockets(folder / "ovn")
        """The daemons, for questions of one's own."""
        self._current = Northbound()

    def __enter__(self) -> Oracle:
        """Start the daemons.

        Raises:
            LabError: OVN is not installed or does not start.
        """
        try:
            for daemon in central(self.at.directory):
                self._group.start(daemon)
        except BaseException:
            self._group.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the daemons."""
        self._group.stop()

    def load(self, configuration: Northbound) -> None:
        """Make this the configuration the next questions are about.

        Raises:
            FabricError: OVN refuses it.
        """
        northbound.apply(self.at, configuration, wait="sb")
        self._current = configuration

    def delivered(
        self,
        source: str,
        address: str,
        l4: str = "tcp && tcp.dst == 8080",
        forged: str | None = None,
        via: str | None = None,
    ) -> frozenset[str]:
        """Logical ports that a new connection's first packet comes out of.

        Args:
            source: logical port that sends.
            address: destination IPv4 address.
            l4: the transport part, in OVN's match language.
            forged: source address instead of the port's own.
            via: destination MAC instead of the neighbour's or the gateway's.
        """
        mac, own = self._current.port(source).addresses[0].split()[:2]
        flow = (
            f'inport == "{source}" && eth.src == {mac} && eth.dst == {via or self._next_hop(source, address)} && '
            f"ip4.src == {forged or own} && ip4.dst == {address} && ip.ttl == 64 && {l4}"
        )
        argv = ["ovn-trace", f"--db={self.at.database}", "--minimal", *["--ct=new"] * STAGES]
        output = command(*argv, self._current.port(source).switch, flow)
        return frozenset(re.findall(r'output\("([^"]+)"\)', output))

    def reaches(self, source: str, target: str, l4: str = "tcp && tcp.dst == 8080") -> bool:
        """Whether a new connection's first packet from one pod's port comes out of another's."""
        return target in self.delivered(source, self._current.port(target).addresses[0].split()[1], l4)

    def _next_hop(self, source: str, address: str) -> str:
        """MAC of the destination on the sender's own switch, else of its gateway."""
        switch = self._current.port(source).switch
        router = ""
        for port in self._current.switch_ports:
            if port.switch == switch:
                if port.router_port:
                    router = port.router_port
                elif _address(port) == address:
                    return port.addresses[0].split()[0]
        for link in self._current.router_ports:
            if link.name == router:
                return link.mac
        return gateway_mac(address)


def _address(port: SwitchPort) -> str:
    return port.addresses[0].split()[1] if port.addresses and " " in port.addresses[0] else ""
