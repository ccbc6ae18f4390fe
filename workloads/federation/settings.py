"""The run configuration: what one training run is told, checked before anything is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from federation.errors import InputError

_LINEAR = ("fedavg", "fedprox")  # a client moves their mean by its weight times its update, whatever the others send
_RANGES = {"training_epsilon": ("1e-12", "1000"), "training_delta": ("1e-30", "0.5")}


class Settings(BaseModel):
    """Keys of ``[tool.flwr.app.config]``, spelt with ``-`` there and with ``_`` here."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=lambda name: name.replace("_", "-"), populate_by_name=True
    )

    model: Literal["cnn"] = "cnn"
    strategy: Literal["fedavg", "fedprox", "fedadam"] = "fedavg"
    rounds: int = Field(10, ge=1)
    local_epochs: int = Field(20, ge=1, description="passes over the client's training part in one round")
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(0.01, gt=0, allow_inf_nan=False)
    momentum: float = Field(0.9, ge=0, lt=1)
    train_fraction: float = Field(0.8, gt=0, lt=1, description="the rest is the client's test part")
    seed: int = Field(7, ge=0, lt=2**31)
    num_clients: int = Field(10, ge=1, description="all of them train in every round")
    num_classes: int = Field(10, ge=2, le=256)
    proximal_mu: float = Field(0.1, ge=0, allow_inf_nan=False, description="FedProx: weight of the proximal term")
    server_learning_rate: float = Field(0.01, gt=0, allow_inf_nan=False, description="FedAdam: eta on the server")
    round_timeout: float = Field(3600.0, gt=0, allow_inf_nan=False, description="seconds to wait for all replies")
    results: str = Field("/results", min_length=1, description="folder of the results, in the ServerApp's container")
    submission: str = Field("", description="digest of what was submitted, so that a retried job finds its run")
    grant: str = Field("", pattern="^([0-9a-f]{12})?$", description="training under noise: names the granted run")
    training_epsilon: str = Field("", validate_default=True, description="decimal, of the whole run, at its delta")
    training_delta: str = Field("", validate_default=True, description="decimal")
    clipping_norm: float = Field(1.0, ge=1e-6, le=1e6, description="L2 norm of a client's update, under noise")

    @field_validator("grant")
    @classmethod
    def _aggregation(cls, grant: str, info: ValidationInfo) -> str:
        strategy = info.data.get("strategy")
        if grant and strategy not in _LINEAR:
            raise PydanticCustomError(
                "strategy", f"strategy {strategy} does not train under noise; allowed: {' and '.join(_LINEAR)}"
            )
        return grant

    @field_validator("training_epsilon", "training_delta")
    @classmethod
    def _decimal(cls, text: str, info: ValidationInfo) -> str:
        if bool(text) != bool(info.data.get("grant")):
            raise PydanticCustomError("together", "grant, training-epsilon and training-delta go together")
        low, high = _RANGES[str(info.field_name)]
        try:
            inside = not text or Decimal(low) <= Decimal(text) <= Decimal(high)
        except InvalidOperation:
            inside = False
        if not inside:
            raise PydanticCustomError("range", f"not a decimal from {low} to {high}")
        return text

    @property
    def granted_epsilon(self) -> Decimal:
        """Epsilon of the whole run; only with a grant."""
        return Decimal(self.training_epsilon)

    @property
    def granted_delta(self) -> Decimal:
        """Delta of the whole run; only with a grant."""
        return Decimal(self.training_delta)

    def to_config(self) -> dict[str, str | int | float]:
        """Return the values as a Flower run configuration."""
        return self.model_dump(by_alias=True)


def parse(values: Mapping[str, Any]) -> Settings:
    """Check a run configuration.

    Args:
        values: keys as in ``[tool.flwr.app.config]``; absent ones take their defaults.

    Raises:
        InputError: naming every key that is unknown or out of range, its value and what is allowed.
    """
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        allowed = ", ".join(sorted(name.replace("_", "-") for name in Settings.model_fields))
        problems = []
        for e in error.errors():
            key = ".".join(map(str, e["loc"]))
            if e["type"] == "extra_forbidden":
                problems.append(f"{key}: unknown key; allowed: {allowed}")
            else:
                name = key.replace("_", "-")
                problems.append(f"{name}: {e['input']!r}: {e['msg'][0].lower()}{e['msg'][1:]}")
        raise InputError("run configuration: " + "; ".join(problems)) from None
