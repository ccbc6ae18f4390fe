"""Kubernetes quantities, as ``500m`` or ``2Gi``."""

from __future__ import annotations

from decimal import Decimal

from kubernetes.utils.quantity import parse_quantity


def quantity(text: str) -> Decimal:
    """Return the number a quantity stands for, in its base unit (CPUs, bytes)."""
    return Decimal(parse_quantity(text))
