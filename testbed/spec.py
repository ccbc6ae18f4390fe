"""The typed configuration of a testbed.

Field names and defaults follow the paper's FLDeployment descriptor where it has one: ``image_pull_policy``,
``port`` 8080, ``rounds`` 10, ``num_clients`` 10, ``isolation``, ``node_port`` 30051, ``download`` false, privacy
``budget`` 0.7. ``Testbed`` is the whole; checks that need more than one section are in ``testbed.validation``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from testbed.errors import Problem, SpecError
from testbed.gaussian import LEAST_DELTA, MOST_DELTA
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


def _decimal(value: object) -> object:
    """Read an epsilon exactly as written: a YAML float becomes its shortest decimal, never a binary fraction."""
    if isinstance(value, bool):
        raise ValueError("use a number, such as 0.7")
    return str(value) if isinstance(value, (int, float)) else value


def _probability(value: Decimal) -> Decimal:
    """Refuse a delta below the P3-VC's own lower limit, or one so large that it promises nothing."""
    if not LEAST_DELTA <= value <= MOST_DELTA:
        raise ValueError(f"use a number from {LEAST_DELTA} to {MOST_DELTA}")
    return value


# Twelve decimals are far below any epsilon that means something and keep sums exact.
Epsilon = Annotated[Decimal, BeforeValidator(_decimal), Field(gt=0, le=1000, allow_inf_nan=False, decimal_places=12)]
Delta = Annotated[Decimal, BeforeValidator(_decimal), Field(allow_inf_nan=False), AfterValidator(_probability)]


class Section(BaseModel):
    """A frozen section of the configuration that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Node(Section):
    """A machine of the cluster; the paper's heterogeneity table has one line for each."""

    name: NodeName
    role: Literal["control-plane", "cloud", "edge"]
    domain: Id
    cpu: int = Field(gt=0, description="vCPU")
    memory: int = Field(gt=0, description="GiB")
    disk: int = Field(gt=0, description="GiB")
    gpu: GpuModel | None = Field(None, description="model of the node's one GPU")


class Resources(Section):
    """What a pod asks for: CPU in thousandths of a vCPU, memory in MiB, whole GPUs."""

    cpu: int = Field(500, gt=0, description="millicores")
    memory: int = Field(1024, gt=0, description="MiB")
    gpu: int = Field(0, ge=0)


class Server(Section):
    """The SuperLink and its ServerApp executor."""

    node: NodeName
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    port: int = Field(8080, ge=1024, le=65535)
    node_port: int = Field(30051, ge=30000, le=32767)
    resources: Resources = Resources(cpu=1000, memory=2048)


class PrivacyOverride(Section):
    """What one client may set apart from the testbed's privacy section."""

    epsilon: Epsilon | None = None
    mechanism: Literal["laplace", "exponential", "paper"] | None = None
    block: int | None = Field(None, ge=1)
    neighbourhood: int | None = Field(None, ge=1)
    release: int | None = Field(None, ge=1)


class Client(Section):
    """A federation member. ``slot`` fixes its addresses, server NIC and partition for as long as it lives."""

    id: Id
    slot: int = Field(ge=1)
    node: NodeName
    dataset: Id | None = None
    key: int = Field(1, ge=1, description="raise to give a rejoining client a new SuperNode key")
    privacy: PrivacyOverride = PrivacyOverride()


class Clients(Section):
    """Either ``num_clients`` with a placement, or a ``list``."""

    num_clients: int | None = Field(None, ge=1)
    placement: Literal["spread", "weighted"] | dict[NodeName, Annotated[int, Field(ge=1)]] = "spread"
    list: tuple[Client, ...] = ()
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    resources: Resources = Resources()


class Dataset(Section):
    """The raw data of the clients, found on each client's node under the storage root."""

    name: Id = "cifar10"
    format: Literal["auto", "cifar10", "npz", "folder"] = "auto"
    classes: int = Field(10, ge=2, le=256, description="labels are 0 up to this; declared, so it tells of no record")
    download: Literal[False] = False
    partition: Literal["iid", "dirichlet", "none"] = "dirichlet"
    alpha: float = Field(0.5, ge=1e-3, le=1e6, description="Dirichlet concentration of the label skew")
    seed: int = Field(7, ge=0, lt=2**63)


class Privacy(Section):
    """Budget and mechanism of every release."""

    budget: Epsilon = Decimal("0.7")
    testbed_budget: Epsilon | None = Field(None, description="cap over all datasets; the budget when absent")
    epsilon: Epsilon = Decimal("0.7")
    mechanism: Literal["laplace", "exponential", "paper"] = "laplace"
    block: int = Field(8, ge=1, description="pixelisation block side, pixels")
    neighbourhood: int = Field(16, ge=1, description="pixels in which neighbouring images may differ")
    labels: Literal["public", "private"] = "public"
    label_epsilon: Epsilon | None = None
    composition: Literal["basic", "advanced", "zcdp"] = "basic"
    delta: Delta | None = None
    disjoint: str | None = Field(
        None,
        min_length=10,
        description="why no person has records on two clients, in words; recorded, and lets clients of one dataset "
        "compose by their maximum",
    )
    release: int = Field(1, ge=1, description="raise to spend again on a fresh release of the same data")


class TrainingDp(Section):
    """Gaussian noise on every model that leaves the server, for what it costs each client's dataset over a run."""

    epsilon: Epsilon
    delta: Delta
    clipping_norm: float = Field(1.0, ge=1e-6, le=1e6, description="L2 norm a client's update is cut to")
    number: int = Field(1, ge=1, description="raise to spend again on another run of the same configuration")


class Federation(Section):
    """The learning task; the defaults are the paper's."""

    model: Literal["cnn"] = "cnn"
    strategy: Literal["fedavg", "fedprox", "fedadam"] = "fedavg"
    rounds: int = Field(10, ge=1, le=1_000_000)
    local_epochs: int = Field(20, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(0.01, gt=0, allow_inf_nan=False)
    momentum: float = Field(0.9, ge=0, lt=1, description="of the clients' SGD")
    proximal_mu: float = Field(0.1, ge=0, allow_inf_nan=False, description="fedprox: weight of the proximal term")
    server_learning_rate: float = Field(0.01, gt=0, allow_inf_nan=False, description="fedadam: eta on the server")
    train_fraction: float = Field(0.8, gt=0, lt=1)
    seed: int = Field(7, ge=0, lt=2**31)
    image: str = Field("ghcr.io/kubeflower/workloads:0.1.0", min_length=1)
    training_dp: TrainingDp | None = None


class Network(Section):
    """Address plan: the server's subnet, and one range cut into equal client subnets."""

    server: IPv4Network = IPv4Network("10.60.0.0/24")
    clients: IPv4Network = IPv4Network("10.64.0.0/16")
    prefix: int = Field(28, ge=16, le=29, description="prefix length of one client subnet")
    reserved: tuple[IPv4Network, ...] = (
        IPv4Network("10.16.0.0/16"),  # Kube-OVN's ovn-default
        IPv4Network("10.96.0.0/12"),  # Kubernetes services
    )
    join: IPv4Network = Field(IPv4Network("100.64.0.0/16"), description="Kube-OVN's join network, where nodes are")


class Storage(Section):
    """Node-local storage, prepared by each node's administrator."""

    root: str = Field("/var/lib/kubeflower", pattern=r"^/[A-Za-z0-9._/-]*[A-Za-z0-9._-]$")
    raw: int = Field(2, gt=0, description="GiB")
    private: int = Field(2, gt=0, description="GiB")
    server: int = Field(1, gt=0, description="GiB")


class Testbed(Section):
    """A whole testbed, as configured under ``kubeflower:`` in a stack file."""

    __test__ = False  # pytest: not a test case

    name: Annotated[str, AfterValidator(_testbed_name)]
    nodes: tuple[Node, ...] = Field(min_length=1)
    isolation: Literal["client", "node", "domain"] = "client"
    capacity: int = Field(12, ge=1, le=250, description="client slots reserved")
    server: Server
    clients: Clients
    dataset: Dataset = Dataset()
    privacy: Privacy = Privacy()
    federation: Federation = Federation()
    network: Network = Network()
    storage: Storage = Storage()


def _allowed(model: type[BaseModel], path: tuple[int | str, ...]) -> str:
    """Name the keys allowed at ``path`` below ``model``."""
    current: Any = model
    for part in path:
        if isinstance(part, int) or not (isinstance(current, type) and issubclass(current, BaseModel)):
            continue
        field = current.model_fields.get(part)
        candidates = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        current = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), current)
    return ", ".join(sorted(set(current.model_fields) - ({"name"} if current is Testbed else set())))


def _key(prefix: str, location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part == "[key]":
            continue
        elif not part.startswith(("function-", "literal[", "dict[", "constrained-")):
            text += f".{part}" if text else part
    return "stack name" if text == "name" else prefix + text


def _problem(prefix: str, error: Any) -> Problem:
    location: tuple[int | str, ...] = error["loc"]
    key = _key(prefix, location)
    if error["type"] == "extra_forbidden":
        return Problem(key, "unknown key", f"allowed here: {_allowed(Testbed, location[:-1])}")
    if error["type"] == "missing":
        return Problem(key, "missing", "this key is required")
    shown = error["input"] if isinstance(error["input"], (str, int, float, bool)) else type(error["input"]).__name__
    message = _ADVICE.get(error["type"], error["msg"]).format(**error.get("ctx", {}))
    if error["type"] == "model_type":
        message = f"give keys and values: {_allowed(Testbed, location)}"
    return Problem(key, repr(shown), message[0].lower() + message[1:])


# pydantic's words where they speak of Python instead of the stack file.
_ADVICE = {
    "too_short": "give at least {min_length}",
    "tuple_type": "give a list",
    "dict_type": "give keys and values",
    "ip_v4_network": "use a network with its host bits zero, such as 10.64.0.0/16",
    "decimal_parsing": "use a number, such as 0.7",
    "value_error": "{error}",
}


def _problems(prefix: str, error: ValidationError) -> list[Problem]:
    """One problem a key: of a union's alternatives only the one that was meant, or both in one line."""
    found: dict[str, Problem] = {}
    for one in error.errors():
        literal = any(isinstance(part, str) and part.startswith("literal[") for part in one["loc"])
        table = any(isinstance(part, str) and part.startswith("dict[") for part in one["loc"])
        if (literal and isinstance(one["input"], dict)) or (table and one["type"] == "dict_type"):
            continue
        problem = _problem(prefix, one)
        found.setdefault(problem.key, problem)
    return list(found.values())


def parse(name: str, values: Mapping[str, object], prefix: str = "kubeflower:") -> Testbed:
    """Build a testbed from configuration values (section → plain data).

    Args:
        name: the testbed's name, normally the stack's.
        values: section name to plain YAML data; a JSON text is read first, as Pulumi stores objects so.
        prefix: put before every key in a message, so that it reads as in the stack file.

    Raises:
        SpecError: with every key that is unknown, missing or out of range, and every contradiction between keys.
    """
    from testbed.validation import check  # noqa: PLC0415 - validation needs the models above

    data: dict[str, object] = {"name": name}
    for section, value in values.items():
        if isinstance(value, str):
            try:
                data[section] = json.loads(value)
                continue
            except ValueError:
                pass
        data[section] = value
    try:
        spec = Testbed.model_validate(data)
    except ValidationError as error:
        raise SpecError(_problems(prefix, error)) from None
    problems = check(spec, prefix)
    if problems:
        raise SpecError(problems)
    return spec
