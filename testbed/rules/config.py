"""The policies' own configuration: what the stack cannot raise."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contract.composition import Charge, Composition
from testbed.errors import Problem, SpecError
from testbed.fields import Delta, Epsilon, Image
from testbed.reachability.groups import Isolation
from testbed.strict import UnreadableError, configuration


class Spent(BaseModel):
    """A claim that a ledger already holds.

    Attributes:
        delta: of a grant, whose noise is Gaussian; None for a release.
        run: of a grant, the run whose noise it pays for.
        part: ``SCHEME:INDEX`` of the partition it was released from, under a disjointness assertion.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: Epsilon
    delta: Delta | None = None
    run: str | None = Field(None, min_length=1)
    part: str | None = Field(None, pattern=r"^.+:[0-9]{1,5}$")

    @model_validator(mode="after")
    def _of_a_run(self) -> Self:
        if (self.delta is None) != (self.run is None):
            raise ValueError("delta and run go together: a grant has both, a release none")
        return self

    @property
    def cost(self) -> Charge:
        """What it costs a record that it covers."""
        family, _, index = self.part.rpartition(":") if self.part else (None, "", None)
        part = None if index is None else int(index)
        if self.run is None or self.delta is None:
            return Charge(self.epsilon, family=family, part=part)
        return Charge.of_run(self.run, self.epsilon, self.delta, family=family, part=part)


class PrivacyBudget(BaseModel):
    """Configuration of ``privacy-budget``.

    Attributes:
        neighbourhood: pixels of a record that every release must protect at least.
        spent: what ledgers hold, by dataset, ledger and claim. A ledger is ``NODE:FOLDER``: a claim counts once only
            within one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: Epsilon = Decimal("0.7")
    testbedBudget: Epsilon | None = None  # noqa: N815 - policy configuration is camelCase by Pulumi's custom
    composition: Composition = "basic"
    delta: Delta | None = None
    neighbourhood: int = Field(1, ge=1)
    spent: Mapping[str, Mapping[str, Mapping[str, Epsilon | Spent]]] = Field(default_factory=dict)

    @property
    def testbed(self) -> Decimal:
        """Cap over all datasets."""
        return self.testbedBudget or self.budget


class Network(BaseModel):
    """Configuration of ``no-cross-client-route``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    isolation: Isolation = "client"


Kind = Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9]+(/[a-z0-9.-]+)?$")]


class Pods(BaseModel):
    """Configuration of ``hardened-pods``.

    Attributes:
        images: the testbed's own programs run from these; empty when they may be any, but one and the same.
        sidecars: other containers of its pods run from these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: tuple[Image, ...] = ()
    sidecars: tuple[Image, ...] = ()


class Closed(BaseModel):
    """Configuration of ``fail-closed``.

    Attributes:
        trust: kinds outside the rules, as ``group/Kind`` or one object of them as ``group/Kind/name``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trust: tuple[Kind, ...] = ()


class PolicyConfig(BaseModel):
    """Configuration of the whole pack, by rule."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    budget: PrivacyBudget = Field(default=PrivacyBudget(), alias="privacy-budget")
    network: Network = Field(default=Network(), alias="no-cross-client-route")
    pods: Pods = Field(default=Pods(), alias="hardened-pods")
    closed: Closed = Field(default=Closed(), alias="fail-closed")


_KEYS = {
    str(field.alias): ", ".join(field.annotation.model_fields)
    for field in PolicyConfig.model_fields.values()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}


def parse(data: Mapping[str, Any]) -> PolicyConfig:
    """Read a policy configuration, rule name to settings.

    Pulumi's ``enforcementLevel`` is accepted and ignored: outside the engine every rule is mandatory.

    Raises:
        SpecError: with every key that is unknown or out of range.
    """
    cleaned = {}
    for rule, settings in data.items():
        known = rule in _KEYS
        if isinstance(settings, Mapping):
            rest = {k: v for k, v in settings.items() if k != "enforcementLevel"}
            if known or rest:
                cleaned[rule] = rest
        elif known or settings not in ("mandatory", "advisory", "disabled"):
            cleaned[rule] = settings
    try:
        return PolicyConfig.model_validate(cleaned)
    except ValidationError as error:
        problems = []
        for one in error.errors():
            key = ".".join(str(p) for p in one["loc"])
            shown = "unknown key" if one["type"] == "extra_forbidden" else repr(one["input"])
            message = one["msg"].removeprefix("Value error, ")
            allowed = "; ".join(f"{rule}: {keys}" for rule, keys in _KEYS.items())
            problems.append(Problem(key, shown, allowed if shown == "unknown key" else message))
        raise SpecError(problems) from None


def with_spent(config: PolicyConfig, spent: Mapping[str, Any]) -> PolicyConfig:
    """Add what ledgers hold (``ledger.spent``) to a configuration; of a claim that both name, the ledger is right.

    Raises:
        SpecError: as ``parse``.
    """
    known, added = config.budget.spent, parse(spent).budget.spent
    merged = {
        name: {
            ledger: {**known.get(name, {}).get(ledger, {}), **added.get(name, {}).get(ledger, {})}
            for ledger in {**known.get(name, {}), **added.get(name, {})}
        }
        for name in {**known, **added}
    }
    return config.model_copy(update={"budget": config.budget.model_copy(update={"spent": merged})})


def dump(config: PolicyConfig) -> dict[str, Any]:
    """Write a configuration as ``--policy-pack-config`` takes it: what differs from the defaults, decimals as text."""
    return config.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def read(path: Path) -> PolicyConfig:
    """Read a policy configuration file (JSON or YAML), as ``--policy-pack-config`` takes it.

    Raises:
        SpecError: when it cannot be read.
    """
    try:
        data = configuration(path)
    except UnreadableError as error:
        raise SpecError([Problem(error.where, "", error.why)]) from None
    if not isinstance(data, Mapping):
        raise SpecError([Problem(str(path), type(data).__name__, "must map a rule's name to its settings")])
    return parse(data)
