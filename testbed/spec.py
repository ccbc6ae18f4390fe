"""The typed configuration of a testbed.

Field names and defaults follow the paper's FLDeployment descriptor where it has one: ``image_pull_policy``,
``port`` 8080, ``rounds`` 10, ``num_clients`` 10, ``isolation``, ``node_port`` 30051, ``download`` false, privacy
``budget`` 0.7. ``Testbed`` is the whole; checks that need more than one section are in ``testbed.validation``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

from testbed.errors import Problem, SpecError
from testbed.fields import (
    Delta,
    Epsilon,
    Folder,
    GpuModel,
    Id,
    Image,
    Network4,
    NodeName,
    Number,
    Reason,
    TestbedName,
)
from testbed.strict import parse_json

# Beyond reason, as nobody has them: the largest machines have less, and Kubernetes knows 5000 nodes.
MOST_NODES, MOST_CLIENTS = 5000, 250
MOST_CPU, MOST_MEMORY, MOST_DISK = 16_384, 131_072, 1_048_576  # vCPU, GiB, GiB of one node


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _false(value: bool) -> bool:
    if value:
        raise ValueError("use false: raw data is brought to the nodes by their administrators")
    return value


def _word_or_table(value: object) -> str:
    return "table" if isinstance(value, dict) else "word"


class Section(BaseModel):
    """A frozen section of the configuration that refuses keys it does not know, and values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Node(Section):
    """A machine of the cluster; the paper's heterogeneity table has one line for each."""

    name: NodeName
    role: Literal["control-plane", "cloud", "edge"]
    domain: Id
    cpu: int = Field(ge=1, le=MOST_CPU, description="vCPU")
    memory: int = Field(ge=1, le=MOST_MEMORY, description="GiB")
    disk: int = Field(ge=1, le=MOST_DISK, description="GiB")
    gpu: GpuModel | None = Field(None, description="model of the node's one GPU")


class Resources(Section):
    """What a pod asks for: CPU in thousandths of a vCPU, memory in MiB, whole GPUs."""

    cpu: int = Field(500, ge=1, le=MOST_CPU * 1000, description="millicores")
    memory: int = Field(1024, ge=1, le=MOST_MEMORY * 1024, description="MiB")
    gpu: int = Field(0, ge=0, le=1, description="a node has one")


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
    block: int | None = Field(None, ge=1, le=2**15)
    neighbourhood: int | None = Field(None, ge=1, le=2**30)
    release: Number | None = None


class Client(Section):
    """A federation member. ``slot`` fixes its addresses, server NIC and partition for as long as it lives."""

    id: Id
    slot: int = Field(ge=1, le=MOST_CLIENTS)
    node: NodeName
    dataset: Id | None = None
    key: Number = Field(1, description="raise to give a rejoining client a new SuperNode key")
    privacy: PrivacyOverride = PrivacyOverride()


class Clients(Section):
    """Either ``num_clients`` with a placement, or a ``list``."""

    num_clients: int | None = Field(None, ge=1, le=MOST_CLIENTS)
    placement: Annotated[
        Annotated[Literal["spread", "weighted"], Tag("word")]
        | Annotated[dict[NodeName, Annotated[int, Field(ge=1, le=MOST_CLIENTS)]], Tag("table")],
        Discriminator(_word_or_table),
    ] = "spread"
    list: Annotated[tuple[Client, ...], BeforeValidator(_listed)] = Field((), max_length=MOST_CLIENTS)
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    resources: Resources = Resources()


class Dataset(Section):
    """The raw data of the clients, found on each client's node under the storage root."""

    name: Id = "cifar10"
    format: Literal["auto", "cifar10", "npz", "folder"] = "auto"
    classes: int = Field(10, ge=2, le=256, description="labels are 0 up to this; declared, so it tells of no record")
    download: Annotated[bool, AfterValidator(_false)] = False
    partition: Literal["iid", "dirichlet", "none"] = "dirichlet"
    alpha: float = Field(0.5, ge=1e-3, le=1e6, description="Dirichlet concentration of the label skew")
    seed: int = Field(7, ge=0, lt=2**63)


class Privacy(Section):
    """Budget and mechanism of every release."""

    budget: Epsilon = Decimal("0.7")
    testbed_budget: Epsilon | None = Field(None, description="cap over all datasets; the budget when absent")
    epsilon: Epsilon = Decimal("0.7")
    mechanism: Literal["laplace", "exponential", "paper"] = "laplace"
    block: int = Field(8, ge=1, le=2**15, description="pixelisation block side, pixels")
    neighbourhood: int = Field(16, ge=1, le=2**30, description="pixels in which neighbouring images may differ")
    labels: Literal["public", "private"] = "public"
    label_epsilon: Epsilon | None = None
    composition: Literal["basic", "advanced", "zcdp"] = "basic"
    delta: Delta | None = None
    disjoint: Reason | None = Field(
        None,
        description="why no person has records on two clients, in words; recorded, and lets clients of one dataset "
        "compose by their maximum",
    )
    release: Number = Field(1, description="raise to spend again on a fresh release of the same data")


class TrainingDp(Section):
    """Gaussian noise on every model that leaves the server, for what it costs each client's dataset over a run."""

    epsilon: Epsilon
    delta: Delta
    clipping_norm: float = Field(1.0, ge=1e-6, le=1e6, description="L2 norm a client's update is cut to")
    number: Number = Field(1, description="raise to spend again on another run of the same configuration")


class Federation(Section):
    """The learning task; the defaults are the paper's."""

    model: Literal["cnn"] = "cnn"
    strategy: Literal["fedavg", "fedprox", "fedadam"] = "fedavg"
    rounds: int = Field(10, ge=1, le=1_000_000)
    local_epochs: int = Field(20, ge=1, le=1_000_000)
    batch_size: int = Field(32, ge=1, le=1_000_000)
    learning_rate: float = Field(0.01, gt=0, le=1000)
    momentum: float = Field(0.9, ge=0, lt=1, description="of the clients' SGD")
    proximal_mu: float = Field(0.1, ge=0, le=1e6, description="fedprox: weight of the proximal term")
    server_learning_rate: float = Field(0.01, gt=0, le=1000, description="fedadam: eta on the server")
    train_fraction: float = Field(0.8, gt=0, lt=1)
    seed: int = Field(7, ge=0, lt=2**31)
    image: Image = "ghcr.io/kubeflower/workloads:0.1.0"
    training_dp: TrainingDp | None = None


class Network(Section):
    """Address plan: the server's subnet, and one range cut into equal client subnets."""

    server: Network4 = IPv4Network("10.60.0.0/24")
    clients: Network4 = IPv4Network("10.64.0.0/16")
    prefix: int = Field(28, ge=16, le=29, description="prefix length of one client subnet")
    reserved: Annotated[tuple[Network4, ...], BeforeValidator(_listed)] = Field(
        (
            IPv4Network("10.16.0.0/16"),  # Kube-OVN's ovn-default
            IPv4Network("10.96.0.0/12"),  # Kubernetes services
        ),
        max_length=100,
    )
    join: Network4 = Field(IPv4Network("100.64.0.0/16"), description="Kube-OVN's join network, where nodes are")


class Storage(Section):
    """Node-local storage, prepared by each node's administrator."""

    root: Folder = "/var/lib/kubeflower"
    raw: int = Field(2, ge=1, le=MOST_DISK, description="GiB")
    private: int = Field(2, ge=1, le=MOST_DISK, description="GiB")
    server: int = Field(1, ge=1, le=MOST_DISK, description="GiB")


class Testbed(Section):
    """A whole testbed, as configured under ``kubeflower:`` in a stack file."""

    __test__ = False  # pytest: not a test case

    name: TestbedName
    nodes: Annotated[tuple[Node, ...], BeforeValidator(_listed)] = Field(min_length=1, max_length=MOST_NODES)
    isolation: Literal["client", "node", "domain"] = "client"
    capacity: int = Field(12, ge=1, le=MOST_CLIENTS, description="client slots reserved")
    server: Server
    clients: Clients
    dataset: Dataset = Dataset()
    privacy: Privacy = Privacy()
    federation: Federation = Federation()
    network: Network = Network()
    storage: Storage = Storage()


SECTIONS = tuple(sorted(set(Testbed.model_fields) - {"name"}))


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
    for before, part in zip((None, *location), location, strict=False):
        if part == "[key]" or (before == "placement" and part in ("word", "table")):  # pydantic's own
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" if text else _shown(part)
    return "stack name" if text == "name" else prefix + text


def _shown(text: str) -> str:
    """A text from a file, made fit for a line of a message."""
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return text if text.isprintable() else ascii(text)[1:-1]


_SHOWN = 80  # characters


def _problem(prefix: str, error: Any) -> Problem:
    location: tuple[int | str, ...] = error["loc"]
    key, given = _key(prefix, location), error["input"]
    if error["type"] == "extra_forbidden":
        return Problem(key, "unknown key", f"allowed here: {_allowed(Testbed, location[:-1])}")
    if error["type"] == "missing":
        return Problem(key, "missing", "this key is required")
    if isinstance(given, str):
        given = repr(given if len(given) <= _SHOWN else f"{given[:_SHOWN]}…")
    elif not isinstance(given, (int, float, Decimal)):
        given = "nothing" if given is None else f"a {_KINDS.get(type(given), type(given).__name__)}"
    advice = _ADVICE.get(error["type"])
    message = advice.format(**error.get("ctx", {})) if advice else error["msg"]
    if error["type"] == "model_type":
        message = f"give keys and values: {_allowed(Testbed, location)}"
    return Problem(key, str(given), message[0].lower() + message[1:])


_KINDS: dict[type, str] = {dict: "table of keys and values", list: "list", tuple: "list"}
# pydantic's words where they speak of Python instead of the stack file.
_ADVICE = {
    "too_short": "give at least {min_length}",
    "too_long": "give at most {max_length}",
    "tuple_type": "give a list",
    "int_type": "use a whole number, without quotes",
    "float_type": "use a number, without quotes",
    "bool_type": "use true or false, without quotes",
    "string_type": "use text: quote what is a number, true or false",
    "value_error": "{error}",
}


def plain(value: object) -> object:
    """Return a section as it was written: Pulumi hands on as JSON what is no text.

    Raises:
        ValueError: for a JSON text that readers might read differently.
    """
    if not isinstance(value, str):
        return value
    try:
        found = parse_json(value)
    except json.JSONDecodeError:
        return value
    return value if isinstance(found, str) else found


def parse(name: str, values: Mapping[str, object], prefix: str = "kubeflower:") -> Testbed:
    """Build a testbed from configuration values (section → plain data).

    Args:
        name: the testbed's name, normally the stack's.
        values: section name to plain data, or to its JSON as Pulumi stores it.
        prefix: put before every key in a message, so that it reads as in the stack file.

    Raises:
        SpecError: with every key that is unknown, missing or out of range, and every contradiction between keys.
    """
    from testbed.validation import check  # noqa: PLC0415 - validation needs the models above

    data: dict[str, object] = {"name": name}
    problems = []
    for section, value in values.items():
        if section not in SECTIONS:
            problems.append(Problem(prefix + _shown(section), "unknown key", f"allowed here: {', '.join(SECTIONS)}"))
            continue
        try:
            data[section] = plain(value)
        except ValueError as error:
            problems.append(Problem(prefix + section, "cannot be read", str(error)))
    try:
        spec = Testbed.model_validate(data)
    except ValidationError as error:
        found = {problem.key: problem for problem in (_problem(prefix, one) for one in reversed(error.errors()))}
        problems += reversed(found.values())  # the first of each key
        raise SpecError([p for i, p in enumerate(problems) if p.key not in {q.key for q in problems[:i]}]) from None
    problems = problems or check(spec, prefix)
    if problems:
        raise SpecError(problems)
    return spec
