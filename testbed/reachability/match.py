"""OVN match expressions as sets of packets.

Each expression becomes two sets: packets it *may* match and packets it *must* match. What is not about IP addresses
(ports, protocols, connection state, logical ports) widens the first and empties the second, so an allow is never
overlooked and a drop never credited beyond what is certain. Grammar: ovn-sb(5), Logical_Flow ``match``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from testbed.reachability import space
from testbed.reachability.space import ALL, EMPTY, IP4, IP6, V4_ALL, V6_ALL, Region

_TOKEN = re.compile(
    r"\s*(&&|\|\||==|!=|<=|>=|[()!<>{},]|\"[^\"]*\"|[$@]?[A-Za-z_][\w.\[\]-]*|[0-9A-Fa-f:.]+(?:/[0-9A-Fa-f:.]+)?)"
)
MAX_DEPTH = 50
MAX_BOXES = 512


@dataclass(frozen=True)
class Match:
    """The packets an expression may match, those it must match, and whether it was understood."""

    may: Region
    must: Region
    understood: bool = True


ANY = Match(ALL, EMPTY)
UNREADABLE = Match(ALL, EMPTY, understood=False)


def _families(names: str) -> Region:
    return IP4 if names == "4" else IP6


def _address(field: str, operator: str, values: list[str]) -> Match:
    family, _, side = field.partition(".")
    all_ = V4_ALL if family == "ip4" else V6_ALL
    region: Region = EMPTY
    for value in values:
        if value.startswith("$") or operator not in ("==", "!="):  # an address set, or an ordering
            return Match(_families(family[2]), EMPTY)
        interval = space.network(value)
        one, other = (interval, all_) if side == "src" else (all_, interval)
        region += space.product([one], [other])
    if operator == "!=":
        region = space.subtract(_families(family[2]), region)
    return Match(region, region)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens, position, text = [], 0, text.rstrip()
        while position < len(text):
            token = _TOKEN.match(text, position)
            if not token:
                raise ValueError(f"cannot read {text[position:]!r}")
            self.tokens.append(token.group(1))
            position = token.end()
        self.at, self.depth = 0, 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        if not token:
            raise ValueError("ends too early")
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.next() != token:
            raise ValueError(f"expected {token}")

    def expression(self) -> Match:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        left = self.term()
        operator = self.peek()
        while self.peek() in ("&&", "||"):
            if self.next() != operator:
                raise ValueError("&& and || mixed without parentheses")  # OVN refuses this too
            right = self.term()
            if operator == "&&":
                may, must = space.intersect(left.may, right.may), space.intersect(left.must, right.must)
            else:
                may, must = left.may + right.may, left.must + right.must
            if len(may) > MAX_BOXES or len(must) > MAX_BOXES:
                raise ValueError("too large")
            left = Match(may, must)
        self.depth -= 1
        return left

    def term(self) -> Match:
        token = self.next()
        if token == "!":  # noqa: S105 - a word of the grammar
            inner = self.term()
            return Match(space.subtract(ALL, inner.must), space.subtract(ALL, inner.may))
        if token == "(":  # noqa: S105
            inner = self.expression()
            self.expect(")")
            return inner
        if self.peek() in ("==", "!=", "<", "<=", ">", ">="):
            return self.comparison(token)
        if token in ("ip4", "ip6"):
            region = _families(token[2])
            return Match(region, region)
        if token in ("ip", "1"):
            return Match(ALL, ALL)
        if token in ("arp", "nd", "nd_ns", "nd_na", "rarp", "0"):
            return Match(EMPTY, EMPTY)
        if re.match(r"[A-Za-z]", token):  # tcp, udp, icmp4, ct.new ...
            return ANY
        raise ValueError(f"{token!r} is not a field")

    def comparison(self, field: str) -> Match:
        operator, values = self.next(), []
        if self.peek() == "{":
            self.next()
            while True:
                values.append(self.next())
                if self.next_is_end():
                    break
        else:
            values.append(self.next())
        if field in ("ip4.src", "ip4.dst", "ip6.src", "ip6.dst"):
            return _address(field, operator, values)
        if not re.match(r"[A-Za-z]", field):
            raise ValueError(f"{field!r} is not a field")
        if self.peek() in ("<", "<=", ">", ">="):  # "1 <= tcp.dst <= 2" is read as two halves
            self.next(), self.next()
        return ANY

    def next_is_end(self) -> bool:
        token = self.next()
        if token == "}":  # noqa: S105
            return True
        if token != ",":  # noqa: S105
            self.at -= 1  # a set may be separated by blanks alone
        return False


@lru_cache(maxsize=4096)
def parse(text: str) -> Match:
    """The packets ``text`` matches; everything-or-nothing, marked, when it cannot be read."""
    try:
        parser = _Parser(text)
        found = parser.expression()
        if parser.peek():
            raise ValueError("has more than one expression")
    except ValueError:
        return UNREADABLE
    return found
