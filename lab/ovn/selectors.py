"""Kubernetes label selectors. Source: Kubernetes ``apimachinery/pkg/apis/meta/v1``, ``LabelSelectorAsSelector``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy a selector; an empty selector matches everything.

    Raises:
        ValueError: an operator Kubernetes does not have.
    """
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or ():
        key, operator, values = rule["key"], rule["operator"], rule.get("values") or ()
        match operator:
            case "In":
                held = labels.get(key) in values
            case "NotIn":
                held = labels.get(key) not in values
            case "Exists":
                held = key in labels
            case "DoesNotExist":
                held = key not in labels
            case _:
                raise ValueError(f"matchExpressions operator {operator!r}: allowed are In, NotIn, Exists, DoesNotExist")
        if not held:
            return False
    return True
