"""What one value of a configuration may be: everything else is refused with what is allowed."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from ipaddress import IPv4Network
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from contract.gaussian import LEAST_DELTA, MOST_DELTA
from testbed.naming import RESERVED


def _matching(pattern: str, words: str) -> Callable[[str], str]:
    """Check a text against a pattern, and say in words what is allowed."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError("pattern", "use {words}", {"words": words})
        return text

    return check


_LABEL = "letters, digits and, between them, '-', '_' or '.'"
Id = Annotated[
    str,
    AfterValidator(
        _matching(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?", "1 to 24 lower-case letters, digits and inner hyphens")
    ),
]
NodeName = Annotated[
    str,
    AfterValidator(
        _matching(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?", "1 to 63 letters, digits and inner hyphens or dots")
    ),
]
GpuModel = Annotated[
    str,
    AfterValidator(_matching(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", f"a model name of 1 to 63 {_LABEL}")),
]


def _testbed_name(name: str) -> str:
    """Refuse words that separate names: ``a`` with client ``b-server`` would meet testbed ``a-client-b``."""
    words = "a stack name of 1 to 20 lower-case letters, digits and inner hyphens that starts with a letter"
    _matching(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", words)(name)
    if taken := RESERVED.intersection(name.split("-")):
        raise PydanticCustomError(
            "reserved", "choose a stack name without the word {word}", {"word": " or ".join(sorted(taken))}
        )
    return name


def _decimal(value: object) -> Decimal:
    """Read an epsilon exactly as written: a YAML float becomes its shortest decimal, never a binary fraction."""
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError("use a finite number, such as 0.7")
        return Decimal(str(value))
    if isinstance(value, str) and len(value) < 50 and _DECIMAL.fullmatch(value):
        return Decimal(value)
    raise ValueError("use a number, such as 0.7")


def _probability(value: Decimal) -> Decimal:
    """Refuse a delta below the P3-VC's own lower limit, or one so large that it promises nothing."""
    if not LEAST_DELTA <= value <= MOST_DELTA:
        raise ValueError(f"use a number from {LEAST_DELTA} to {MOST_DELTA}")
    return value


def _network(value: object) -> IPv4Network:
    """Read a network that pods can have addresses of."""
    if isinstance(value, str) and _CIDR.fullmatch(value):
        with suppress(ValueError):
            value = IPv4Network(value)
    if not isinstance(value, IPv4Network):
        raise ValueError("use a network with its host bits zero, such as 10.64.0.0/16")
    for special, use in _SPECIAL.items():
        if value.overlaps(special):
            raise ValueError(f"has addresses of {special}, which are {use}: use a network such as 10.64.0.0/16")
    return value


def _image(text: str) -> str:
    """Refuse what is no image reference."""
    found = _IMAGE.fullmatch(text) if len(text) <= 500 else None
    if not found or len(found["name"]) > 255:
        example = "ghcr.io/team/app:1.0"
        raise ValueError(f"use an image reference, [host[:port]/]name[:tag][@sha256:digest], such as {example}")
    return text


def _folder(text: str) -> str:
    """Refuse a path that has two spellings, and one that meets a folder of the system."""
    example = "such as /var/lib/kubeflower"
    if len(text) > 200 or not _PATH.fullmatch(text):
        raise ValueError(f"use an absolute path of letters, digits, '-', '_' and inner '.', without '..', {example}")
    path = PurePosixPath(text)
    for system in _SYSTEM:
        if path.is_relative_to(system) or system.is_relative_to(path):
            raise ValueError(f"meets {system}, which is the system's: use a folder of its own, {example}")
    return text


def _reason(text: str) -> str:
    """Refuse a reason that says nothing: too few letters, or one letter again and again."""
    normal = unicodedata.normalize("NFKC", text)
    letters = [c for c in normal if c.isalpha() and "FILLER" not in unicodedata.name(c, "")]  # fillers are blank
    if len(text) > 1000 or not text.isprintable() or len(letters) < 10 or len(set(letters)) < 5:
        raise ValueError("say why in words, on one line: 10 letters or more, 1000 characters or fewer")
    return text


_DECIMAL = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_CIDR = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}")
# What no pod can have as its address: IANA's special-purpose registry (RFC 6890), and RFC 5771.
_SPECIAL = {
    IPv4Network("0.0.0.0/8"): "of this host alone",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}
# The grammar of an image reference: github.com/distribution/reference, reference.go.
_LABEL_OF_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?P<name>(?:{_LABEL_OF_HOST}(?:\.{_LABEL_OF_HOST})*(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*)"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_PATH = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
# Folders of the system (Filesystem Hierarchy Standard 3.0), and of a node's own programs.
_SYSTEM = tuple(
    PurePosixPath(f"{parent}/{name}")
    for parent, names in {
        "": "bin boot dev etc lib lib32 lib64 lost+found proc root run sbin sys tmp usr",
        "/var": "cache lock log mail run spool tmp",
        "/var/lib": "cni containerd containers crio docker etcd kubelet",
    }.items()
    for name in names.split()
)

TestbedName = Annotated[str, AfterValidator(_testbed_name)]
# Twelve decimals are far below any epsilon that means something and keep sums exact.
Epsilon = Annotated[Decimal, BeforeValidator(_decimal), Field(gt=0, le=1000, allow_inf_nan=False, decimal_places=12)]
Delta = Annotated[Decimal, BeforeValidator(_decimal), Field(allow_inf_nan=False), AfterValidator(_probability)]
Network4 = Annotated[IPv4Network, BeforeValidator(_network)]
Image = Annotated[str, AfterValidator(_image)]
Folder = Annotated[str, AfterValidator(_folder)]
Reason = Annotated[str, AfterValidator(_reason)]
Number = Annotated[int, Field(ge=1, le=1_000_000)]  # of releases, keys and runs, which are raised by one
