"""Aggregation strategies, chosen by one key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx, Strategy

from federation.settings import Settings


def make(settings: Settings, spend: Callable[[], None]) -> Strategy:
    """Return the strategy named by ``settings.strategy``, in which every declared client takes part.

    Args:
        settings: with a grant, the aggregate is clipped and gets noise.
        spend: called once, before the first such aggregate.
    """
    strategy = _plain(settings)
    if not settings.grant:
        return strategy
    from federation.noise import CentralNoise  # noqa: PLC0415 - its accountant costs a second of imports

    return CentralNoise(strategy, settings, spend)


def _plain(settings: Settings) -> FedAvg:
    everyone: dict[str, Any] = {
        "weighted_by_key": "weight",
        "min_train_nodes": settings.num_clients,
        "min_evaluate_nodes": settings.num_clients,
        "min_available_nodes": settings.num_clients,
    }
    if settings.strategy == "fedprox":
        return FedProx(**everyone, proximal_mu=settings.proximal_mu)
    if settings.strategy == "fedadam":
        return FedAdam(**everyone, eta=settings.server_learning_rate, eta_l=settings.learning_rate)
    return FedAvg(**everyone)
