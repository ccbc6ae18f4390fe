"""Aggregation strategies, chosen by one key."""

from __future__ import annotations

from typing import Any

from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx

from federation.settings import Settings


def make(settings: Settings) -> FedAvg:
    """Return the strategy named by ``settings.strategy``, in which every declared client takes part."""
    everyone: dict[str, Any] = {
        "min_train_nodes": settings.num_clients,
        "min_evaluate_nodes": settings.num_clients,
        "min_available_nodes": settings.num_clients,
    }
    if settings.strategy == "fedprox":
        return FedProx(**everyone, proximal_mu=settings.proximal_mu)
    if settings.strategy == "fedadam":
        return FedAdam(**everyone, eta=settings.server_learning_rate, eta_l=settings.learning_rate)
    return FedAvg(**everyone)
