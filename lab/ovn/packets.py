"""Packets made by hand: ICMP echo requests, and UDP datagrams in Ethernet frames with any source.

Source: RFC 792 (ICMP), RFC 791 (IPv4), RFC 768 (UDP), RFC 1071 (checksum).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

ECHO_REQUEST, ECHO_REPLY = 8, 0
ETHERTYPE_IP = 0x0800


def checksum(data: bytes) -> int:
    """The Internet checksum: the ones' complement of the ones' complement sum of 16-bit words."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(token: bytes) -> bytes:
    """An ICMP echo request that carries a token."""
    head = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 1, 1)
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, checksum(head + token), 1, 1) + token


def echoed(packet: bytes) -> tuple[int, bytes]:
    """Type and token of an ICMP packet as a raw socket gives it, with its IP header."""
    header = (packet[0] & 0x0F) * 4
    return packet[header], packet[header + 8 :]


def frame(macs: tuple[str, str], addresses: tuple[str, str], port: int, token: bytes) -> bytes:
    """An Ethernet frame with a UDP datagram.

    Args:
        macs: source and destination hardware addresses.
        addresses: source and destination IPv4 addresses.
        port: source and destination port.
        token: the payload.
    """
    udp = struct.pack("!HHHH", port, port, 8 + len(token), 0) + token  # checksum 0: none
    source, target = (IPv4Address(address).packed for address in addresses)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, source, target)
    ip = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    ethernet = b"".join(bytes.fromhex(mac.replace(":", "")) for mac in reversed(macs))
    return ethernet + struct.pack("!H", ETHERTYPE_IP) + ip + udp
