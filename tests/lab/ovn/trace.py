"""OVN's own answer to "where does this packet go", without any packet: ``ovn-trace`` on what the controller wrote.

Source: ``ovn-trace(8)``, ``ovn-nb(5)``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from lab.ovn.daemons import Sockets, command
from lab.ovn.programs import program

STAGES = 16  # more conntrack stages than any way through two routers has


@dataclass(frozen=True)
class Port:
    """A pod's logical switch port."""

    name: str
    switch: str
    mac: str
    address: str
    secured: bool


class Trace:
    """Questions about the northbound database as it is now."""

    def __init__(self, at: Sockets) -> None:
        self._at = at
        on = {uuid: name for name, found in self._rows("Logical_Switch", "name", "ports") for uuid in found}
        self.ports: dict[str, Port] = {}
        """The pods' ports by name."""
        self._gateways: dict[str, str] = {}  # switch to the MAC of its router's port
        macs = dict(self._rows("Logical_Router_Port", "name", "mac"))
        columns = ("_uuid", "name", "type", "addresses", "port_security", "options")
        for (uuid,), name, kind, addresses, security, options in self._rows("Logical_Switch_Port", *columns):
            if kind == "router":
                self._gateways[on[uuid]] = macs[options["router-port"]]
            elif addresses:
                mac, address = addresses[0].split()[:2]
                self.ports[name] = Port(name, on[uuid], mac, address, bool(security))

    def delivered(
        self, source: str, address: str, l4: str = "tcp && tcp.dst == 8080", forged: str | None = None, via: str = ""
    ) -> frozenset[str]:
        """Logical ports that a new connection's first packet comes out of.

        Args:
            source: logical port that sends.
            address: destination IPv4 address.
            l4: the transport part, in OVN's match language.
            forged: source address instead of the port's own.
            via: destination MAC instead of the neighbour's or the gateway's.
        """
        port = self.ports[source]
        flow = (
            f'inport == "{source}" && eth.src == {port.mac} && eth.dst == {via or self._next_hop(port, address)} && '
            f"ip4.src == {forged or port.address} && ip4.dst == {address} && ip.ttl == 64 && {l4}"
        )
        argv = [program("ovn-trace"), f"--db={self._at.database}", "--minimal", *["--ct=new"] * STAGES]
        return frozenset(re.findall(r'output\("([^"]+)"\)', command(*argv, port.switch, flow)))

    def _next_hop(self, port: Port, address: str) -> str:
        """MAC of the destination on the sender's own switch, else of its gateway."""
        near = (p.mac for p in self.ports.values() if (p.switch, p.address) == (port.switch, address))
        return next(near, self._gateways[port.switch])

    def _rows(self, table: str, *columns: str) -> list[list[Any]]:
        found = json.loads(self._at.nbctl("--format=json", f"--columns={','.join(columns)}", "list", table))
        order = [found["headings"].index(column) for column in columns]
        several = {"ports", "addresses", "port_security", "_uuid"}
        return [[_value(row[i], found["headings"][i] in several) for i in order] for row in found["data"]]


def _value(value: Any, several: bool) -> Any:
    """A column in OVSDB's JSON (RFC 7047, 5.1): a set as a list, a map as a dictionary."""
    if isinstance(value, list) and value[0] == "map":
        return dict(value[1])
    if isinstance(value, list) and value[0] == "set":
        return [_value(each, False) for each in value[1]]
    plain = value[1] if isinstance(value, list) else value
    return [plain] if several else plain
