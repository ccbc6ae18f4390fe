"""Sends real packets between network namespaces, all at once, and says which arrived.

Every station gets, for the time of a run, a TCP listener and a UDP echo on a high port and a raw ICMP socket. Each
probe carries a token of its own, so that a packet that arrives without an answer is told from one that does not.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from lab.ovn.netns import Inside
from lab.ovn.packets import ECHO_REPLY, ECHO_REQUEST, echo, echoed, frame

PORT = 61799  # of the listeners a run opens


class Seen(StrEnum):
    """What became of a probe."""

    ANSWERED = "answered"
    ONE_WAY = "arrived unanswered"
    NOTHING = "nothing"


class Kind(StrEnum):
    """What is sent."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    FORGED = "forged udp"


@dataclass(frozen=True)
class Probe:
    """One packet to send.

    Attributes:
        source: name of the station that sends.
        target: name of the station whose address it is.
        address: destination address.
        kind: protocol; ``FORGED`` is a UDP datagram in a frame made by hand.
        port: destination port of TCP; UDP goes to :data:`PORT`.
        forged: source address, and source and destination MAC, of a forged frame.
    """

    source: str
    target: str
    address: str
    kind: Kind
    port: int = PORT
    forged: tuple[str, str, str] = ("", "", "")

    def __str__(self) -> str:
        """The packet, for people."""
        what = {
            Kind.TCP: f"TCP to {self.address}:{self.port}",
            Kind.UDP: f"UDP to {self.address}:{PORT}",
            Kind.ICMP: f"ICMP echo to {self.address}",
            Kind.FORGED: f"UDP to {self.address}:{PORT} with source {self.forged[0]} sent to MAC {self.forged[2]}",
        }
        return f"{self.source} -> {self.target}: {what[self.kind]}"


@dataclass
class _Station:
    """A namespace's sockets for a run."""

    netns: Path
    arrived: set[bytes] = field(default_factory=set)
    answered: set[bytes] = field(default_factory=set)

    def open(self, stack: ExitStack) -> None:
        self.stack, self.inside = stack, stack.enter_context(Inside(self.netns))
        self.listener = stack.enter_context(self.inside.call(lambda: socket.create_server(("", PORT), backlog=512)))
        self.udp = stack.enter_context(self.inside.call(lambda: socket.socket(type=socket.SOCK_DGRAM)))
        self.udp.bind(("", PORT))
        self.icmp = stack.enter_context(
            self.inside.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        )
        loop = asyncio.get_running_loop()
        for each, receive in ((self.listener, self._accept), (self.udp, self._datagram), (self.icmp, self._echo)):
            each.setblocking(False)
            loop.add_reader(each, receive)
            stack.callback(loop.remove_reader, each)

    def _accept(self) -> None:
        with suppress(OSError):
            self.listener.accept()[0].close()

    def _datagram(self) -> None:
        with suppress(OSError):
            data, sender = self.udp.recvfrom(256)
            if data.startswith(b"re:"):
                self.answered.add(data[3:])
            else:
                self.arrived.add(data)
                self.udp.sendto(b"re:" + data, sender)

    def _echo(self) -> None:
        with suppress(OSError):
            kind, token = echoed(self.icmp.recv(256))
            {ECHO_REQUEST: self.arrived, ECHO_REPLY: self.answered}.get(kind, set()).add(token)

    async def connect(self, address: str, port: int, timeout: float) -> Seen:
        """A refusal is an answer from the target's kernel: packets pass both ways."""
        made = await asyncio.wrap_future(self.inside.submit(socket.socket))
        with made:
            made.setblocking(False)
            try:
                await asyncio.wait_for(asyncio.get_running_loop().sock_connect(made, (address, port)), timeout)
            except ConnectionRefusedError:
                return Seen.ANSWERED
            except (OSError, TimeoutError):
                return Seen.NOTHING
        return Seen.ANSWERED

    def send_frame(self, probe: Probe, token: bytes) -> None:
        address, source, target = probe.forged
        self.raw.send(frame((source, target), (address, probe.address), PORT, token))

    @cached_property
    def raw(self) -> socket.socket:
        """Sends frames out of eth0, the only NIC of those who forge; protocol 0 receives nothing."""
        made = self.inside.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        self.stack.enter_context(made).bind(("eth0", 0))
        return made


def send(stations: Mapping[str, Path], probes: Sequence[Probe], timeout: float = 1.5) -> dict[Probe, Seen]:
    """Send every probe at once and wait for what comes back.

    Args:
        stations: file of each station's network namespace.
        probes: what to send.
        timeout: seconds after which what has not arrived never will.

    Raises:
        OSError: a namespace cannot be entered, or its port is taken.
    """
    return asyncio.run(_send(stations, probes, timeout))


async def _send(stations: Mapping[str, Path], probes: Iterable[Probe], timeout: float) -> dict[Probe, Seen]:
    with ExitStack() as stack:
        opened = {name: _Station(netns) for name, netns in stations.items()}
        for station in opened.values():
            station.open(stack)
        numbered = {probe: f"{number}".encode() for number, probe in enumerate(probes)}
        connections = {
            probe: asyncio.create_task(opened[probe.source].connect(probe.address, probe.port, timeout))
            for probe in numbered
            if probe.kind is Kind.TCP
        }
        for probe, token in numbered.items():
            with suppress(OSError):  # no route: nothing leaves
                _transmit(opened[probe.source], probe, token)
            await asyncio.sleep(0)
        await asyncio.sleep(timeout)
        seen = {probe: await task for probe, task in connections.items()}
        for probe, token in numbered.items():
            if probe not in seen:
                answered = token in opened[probe.source].answered
                arrived = token in opened[probe.target].arrived
                seen[probe] = Seen.ANSWERED if answered else Seen.ONE_WAY if arrived else Seen.NOTHING
        return seen


def _transmit(station: _Station, probe: Probe, token: bytes) -> None:
    match probe.kind:
        case Kind.UDP:
            station.udp.sendto(token, (probe.address, PORT))
        case Kind.ICMP:
            station.icmp.sendto(echo(token), (probe.address, 0))
        case Kind.FORGED:
            station.send_frame(probe, token)
