"""OVN match expressions as sets of packets.

Each expression becomes two sets: packets it *may* match and packets it *must* match. What is not about IP addresses
(ports, protocols, connection state, logical ports) widens the first and empties the second, so an allow is never
overlooked and a drop never credited beyond what is certain. OVN drops an expression it refuses, with the rule it is
for: such a drop must not be credited either. Grammar: ovn-sb(5), Logical_Flow ``match``, and OVN's lib/expr.c and
lib/lex.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from testbed.reachability import space
from testbed.reachability.space import ALL, EMPTY, IP4, IP6, V4_ALL, V6_ALL, Interval, Region

_TOKEN = re.compile(
    r"\s*(&&|\|\||==|!=|<=|>=|[()!<>{},]|\"[^\"]*\"|[$@]?[A-Za-z_][\w.\[\]-]*|[0-9A-Fa-f:.]+(?:/[0-9A-Fa-f:.]+)?)"
)
_RELATIONS = ("==", "!=", "<", "<=", ">", ">=")
# Predicates and one-bit fields of OVN's lib/logical-fields.c that are not about IP addresses.
_FLAGS = frozenset(
    [
        *("tcp", "udp", "sctp", "icmp", "icmp4", "icmp6", "igmp", "mldv1", "mldv2", "vlan.present"),
        *("eth.bcast", "eth.mcast", "eth.mcastv6", "ip4.src_mcast", "ip4.mcast", "ip6.mcast"),
        *("ip.is_frag", "ip.later_frag", "ip.first_frag", "nd_rs", "nd_ra"),
        *(f"ct.{state}" for state in ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")),
    ]
)
_PREFIX = re.compile(r"0|[1-9][0-9]*")
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


def _constant(family: str, text: str) -> Interval:
    """The addresses of an OVN constant.

    Raises:
        ValueError: for what OVN refuses: one of the other family (lib/expr.c, type_check), one with bits outside its
            mask (lib/lex.c, lex_parse_mask), a number with a leading zero; also for a mask that is no prefix.
    """
    interval = space.network(text)
    address, slash, mask = text.partition("/")
    if (interval[0] >= space.V6) != (family == "ip6"):
        raise ValueError(f"{text} is not of {family}")
    if slash and (interval[0] != space.network(address)[0] or not ("." in mask or _PREFIX.fullmatch(mask))):
        raise ValueError(f"{text} has bits outside its mask")
    return interval


def _address(field: str, operator: str, values: list[str]) -> Match:
    family, _, side = field.partition(".")
    all_ = V4_ALL if family == "ip4" else V6_ALL
    region: Region = EMPTY
    for value in values:
        interval = _constant(family, value)
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
        self.sure = True  # nothing in it that OVN may refuse for a reason not looked at here

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
        if self.peek() != "!":
            return self.primary(self.next())
        self.next()
        token = self.next()
        # OVN's expr_parse_not: "Missing parentheses around operand of !."
        if token == "!" or (token != "(" and self.peek() in _RELATIONS):  # noqa: S105
            raise ValueError("! without parentheses")
        inner = self.primary(token)
        return Match(space.subtract(ALL, inner.must), space.subtract(ALL, inner.may))

    def primary(self, token: str) -> Match:
        if token == "(":  # noqa: S105 - a word of the grammar
            inner = self.expression()
            self.expect(")")
            return inner
        if self.peek() in _RELATIONS:
            return self.comparison(token)
        if token in ("ip4", "ip6"):
            region = _families(token[2])
            return Match(region, region)
        if token in ("ip", "1"):
            return Match(ALL, ALL)
        if token in ("arp", "nd", "nd_ns", "nd_na", "rarp", "0"):
            return Match(EMPTY, EMPTY)
        if token in _FLAGS:
            return ANY
        raise ValueError(f"{token!r} is not a field of one bit")

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
        plain = operator in ("==", "!=") and not any(value.startswith("$") for value in values)
        if field in ("ip4.src", "ip4.dst", "ip6.src", "ip6.dst") and plain:
            return _address(field, operator, values)
        if not re.match(r"[A-Za-z]", field):
            raise ValueError(f"{field!r} is not a field")
        if self.peek() in ("<", "<=", ">", ">="):  # "1 <= tcp.dst <= 2" is read as two halves
            self.next(), self.next()
        self.sure = False
        return Match(_families(field[2]), EMPTY) if re.fullmatch(r"ip[46]\.(?:src|dst)", field) else ANY

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
        if not parser.sure:
            return Match(found.may, EMPTY)
    except ValueError:
        return UNREADABLE
    return found
