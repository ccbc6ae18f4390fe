"""What a P3-VC container will really do, read back from its argv: the inverse of ``testbed.commands``."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from contract.composition import Charge
from contract.gaussian import LEAST_DELTA, MOST_DELTA
from contract.partition import PARTITIONERS, Partition
from testbed import contract as c
from testbed.manifests import Path_, mapping, sequence

MECHANISMS = ("laplace", "exponential", "paper")

# What a container may say for its argv alone to decide what it does: nothing that runs beside it, before it or over it.
FIELDS = frozenset(
    [
        "name", "image", "imagePullPolicy", "command", "args", "env", "resources", "securityContext",
        "terminationMessagePath", "terminationMessagePolicy", "volumeMounts",
    ]
)  # fmt: skip
VARIABLES = frozenset(["TZ", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"])
FOLDERS = frozenset(["HOME", "TMPDIR"])  # variables that name a scratch folder
SCRATCH = (c.MOUNT_HOME, "/tmp", "/var/tmp")  # noqa: S108 - emptyDirs of the container

_REGISTER = frozenset(["data", "ledger", "budget", "composition", "delta", "classes", "neighbourhood"])
_CLAIM = frozenset(
    [
        "data",
        "out",
        "ledger",
        "claim",
        "epsilon",
        "format",
        "partition",
        "partitioner",
        "alpha",
        "seed",
        "disjoint",
        "termination-log",
    ]
)
_RELEASE = _CLAIM | {"formerly", "seeds", "mechanism", "block", "neighbourhood", "labels", "label-epsilon"}
_GRANT = _CLAIM | {"grant", "delta", "rounds", "clipping-norm"}
_VERIFY = frozenset(["release", "claim", "formerly"])
_FOLDERS = frozenset(["data", "out", "ledger", "seeds", "release"])


class UnprovenError(ValueError):
    """The argv does not say for certain what it will do."""


@dataclass(frozen=True)
class Register:
    """``p3vc register``: the terms a raw dataset is registered on."""

    data: str
    ledger: str
    budget: Decimal
    composition: str
    delta: Decimal | None
    neighbourhood: int | None = None


@dataclass(frozen=True)
class Spend:
    """``p3vc release``: what is released and what it costs."""

    data: str
    out: str
    ledger: str
    claim: str
    mechanism: str
    epsilon: Decimal
    label_epsilon: Decimal
    labels: str
    partition: Partition | None
    disjoint: str | None = None
    seeds: str | None = None
    neighbourhood: int | None = None
    formerly: str | None = None  # the claim's id in ledgers of an earlier version

    @property
    def cost(self) -> Charge:
        """Features and labels."""
        return Charge(self.epsilon + self.label_epsilon)


@dataclass(frozen=True)
class Grant:
    """``p3vc grant``: which run may learn from the data with noise on its models, and what that costs."""

    data: str
    out: str
    ledger: str
    claim: str
    cost: Charge
    partition: Partition | None
    disjoint: str | None = None
    mechanism: str = "gaussian"


@dataclass(frozen=True)
class Verify:
    """``p3vc verify``: the release that must be complete."""

    release: str
    claim: str
    formerly: str | None = None


def _number(name: str, text: str) -> Decimal:
    try:
        value = Decimal(text if text.isascii() and "_" not in text else "NaN")
    except InvalidOperation:
        raise UnprovenError(f"--{name} {text!r} is not a number") from None
    if not value.is_finite() or value <= 0:
        raise UnprovenError(f"--{name} {text!r} is not above 0")
    return value


def _epsilon(name: str, text: str) -> Decimal:
    value = _number(name, text)
    if value > 1000:
        raise UnprovenError(f"--{name} {text!r} is above 1000: no promise at all")
    return value


def _delta(text: str) -> Decimal:
    value = _number("delta", text)
    if not LEAST_DELTA <= value <= MOST_DELTA:
        raise UnprovenError(f"--delta {text!r} is not from {LEAST_DELTA} to {MOST_DELTA}")
    return value


def _folder(name: str, text: str) -> str:
    """A path that says by itself where it is: no link and no working directory changes what ``.`` or ``..`` mean."""
    if not text.startswith("/") or text.startswith("//") or posixpath.normpath(text) != text:
        raise UnprovenError(f"--{name} {text!r} is not an absolute path in its plain form")
    return text


def _options(arguments: Sequence[str], allowed: frozenset[str], required: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        name, equals, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--") or name not in allowed:
            raise UnprovenError(f"{flag!r} is not an option of it")
        if not equals:
            if not rest:
                raise UnprovenError(f"{flag!r} has no value")
            value = rest.pop(0)
        if name in found:
            raise UnprovenError(f"--{name} is given twice")
        found[name] = _folder(name, value) if name in _FOLDERS else value
    for name in required:
        if name not in found:
            raise UnprovenError(f"--{name} is missing")
    if found.get("termination-log", c.TERMINATION_LOG) != c.TERMINATION_LOG:
        raise UnprovenError(
            f"--termination-log {found['termination-log']!r} is written to, and not {c.TERMINATION_LOG}"
        )
    return found


def _partition(options: dict[str, str]) -> Partition | None:
    if "partition" not in options:
        return None
    index, slash, count = options["partition"].partition("/")
    partitioner = options.get("partitioner")
    if not (slash and _whole(index) and _whole(count) and int(index) < int(count)):
        raise UnprovenError(f"--partition {options['partition']!r} is not INDEX/COUNT with INDEX from 0")
    if partitioner not in PARTITIONERS:
        raise UnprovenError(f"--partitioner {partitioner!r} is not {' or '.join(PARTITIONERS)}")
    seed, alpha = options.get("seed"), options.get("alpha")
    if seed is not None and not _whole(seed):
        raise UnprovenError(f"--seed {seed!r} is not a whole number")
    if alpha is not None:
        _number("alpha", alpha)
    concentration = None if alpha is None else float(alpha)
    return Partition.of(int(index), int(count), partitioner, concentration, None if seed is None else int(seed))


def _whole(text: str) -> bool:
    """Whether every reader takes a text for the same whole number."""
    return text.isascii() and text.isdigit()


def read(container: Mapping[str, Any]) -> Register | Spend | Grant | Verify:
    """Read what a P3-VC container does.

    Raises:
        UnprovenError: when its argv does not say.
    """
    if not container.get("command"):
        raise UnprovenError("it names no command, so the image decides")
    return parse([*sequence(container["command"]), *sequence(container.get("args"))])


def doubts(container: Mapping[str, Any]) -> Iterator[tuple[Path_, str, str]]:
    """What beside its argv decides what a P3-VC container does: field, message and repair.

    The kubelet mounts a file of its own at ``terminationMessagePath``, over whatever is there (Kubernetes
    ``pkg/kubelet/kuberuntime/kuberuntime_container.go``, ``makeMounts``).
    """
    for field, value in container.items():
        if field not in FIELDS and value:
            yield (field,), f"cannot prove what it does: {field} is set", f"remove {field}"
    if container.get("terminationMessagePath") not in (None, "", c.TERMINATION_LOG):
        repair = f"set it to {c.TERMINATION_LOG}"
        yield ("terminationMessagePath",), "cannot prove what it reads: the kubelet mounts a file there", repair
    for index, entry in enumerate(sequence(container.get("env"))):
        one = mapping(entry)
        name, plain = one.get("name"), "valueFrom" not in one
        if not (plain and (name in VARIABLES or (name in FOLDERS and one.get("value") in SCRATCH))):
            message = f"cannot prove that {name} changes nothing of what it does"
            allowed = f"remove the variable, or set it to one of {', '.join(SCRATCH)}"
            yield ("env", index), message, allowed if name in FOLDERS else "remove the variable"


def parse(argv: Sequence[Any]) -> Register | Spend | Grant | Verify:
    """Read the argv of a P3-VC container.

    Raises:
        UnprovenError: when it is not exactly one ``p3vc register|release|grant|verify`` with known options.
    """
    words = [a if isinstance(a, str) else "" for a in argv]
    if len(words) != len(argv) or any("$(" in w for w in words) or "" in words:
        raise UnprovenError("an argument is not plain text")
    if words[:1] != ["p3vc"] or len(words) < 2:
        raise UnprovenError(
            f"it runs {words[0]!r} instead of p3vc" if words else "it names no command, so the image decides"
        )
    verb, rest = words[1], words[2:]
    if verb == "register":
        o = _options(rest, _REGISTER, ("data", "ledger", "budget", "composition"))
        delta = _delta(o["delta"]) if "delta" in o else None
        return Register(
            o["data"], o["ledger"], _epsilon("budget", o["budget"]), o["composition"], delta, _neighbourhood(o)
        )
    if verb == "verify":
        o = _options(rest, _VERIFY, ("release", "claim"))
        return Verify(o["release"], o["claim"], o.get("formerly"))
    if verb == "grant":
        return _grant(_options(rest, _GRANT, ("data", "out", "ledger", "claim", "grant", "epsilon", "delta", "rounds")))
    if verb != "release":
        raise UnprovenError(f"p3vc {verb} is not register, release, grant or verify")
    return _release(_options(rest, _RELEASE, ("data", "out", "ledger", "claim", "epsilon", "mechanism", "labels")))


def _neighbourhood(o: dict[str, str]) -> int | None:
    text = o.get("neighbourhood")
    if text is not None and not (text.isascii() and text.isdigit() and int(text)):
        raise UnprovenError(f"--neighbourhood {text!r} is not a whole number of pixels above 0")
    return None if text is None else int(text)


def _grant(o: dict[str, str]) -> Grant:
    if not (_whole(o["rounds"]) and int(o["rounds"])):
        raise UnprovenError(f"--rounds {o['rounds']!r} is not a whole number above 0")
    cost = Charge.of_run(o["grant"], _epsilon("epsilon", o["epsilon"]), _delta(o["delta"]))
    return Grant(o["data"], o["out"], o["ledger"], o["claim"], cost, _partition(o), o.get("disjoint"))


def _release(o: dict[str, str]) -> Spend:
    if o["mechanism"] not in MECHANISMS:
        raise UnprovenError(f"--mechanism {o['mechanism']!r} is not one of {', '.join(MECHANISMS)}")
    if o["labels"] not in ("public", "private"):
        raise UnprovenError(f"--labels {o['labels']!r} is not public or private")
    if (o["labels"] == "private") != ("label-epsilon" in o):
        raise UnprovenError("--label-epsilon belongs to --labels private, and to that alone")
    label = _epsilon("label-epsilon", o["label-epsilon"]) if "label-epsilon" in o else Decimal(0)
    return Spend(
        o["data"], o["out"], o["ledger"], o["claim"], o["mechanism"], _epsilon("epsilon", o["epsilon"]), label,
        o["labels"], _partition(o), o.get("disjoint"), o.get("seeds"), _neighbourhood(o), o.get("formerly"),
    )  # fmt: skip
