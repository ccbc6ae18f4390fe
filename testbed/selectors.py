"""Kubernetes label selectors, and whether a match is certain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from testbed.manifests import mapping, sequence

# Labels that controllers add to pods (or namespaces) and templates do not show.
ADDED = (
    "controller-revision-hash", "pod-template-hash", "pod-template-generation", "job-name", "controller-uid",
    "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "batch.kubernetes.io/",
)  # fmt: skip


class Selected(NamedTuple):
    """Whether a selector may and must match."""

    may: bool
    must: bool


def selects(selector: Mapping[str, Any], labels: Mapping[str, Any], *, partly: bool = False) -> Selected:
    """Match ``matchLabels`` and ``matchExpressions``; an empty selector matches everything.

    A label that only a controller knows makes a match possible but not certain.

    Args:
        selector: what to match.
        labels: those that are known.
        partly: there may be other labels beside them.
    """
    may = must = True
    wanted: list[tuple[str, str, list[Any]]] = [
        (str(k), "In", [v]) for k, v in mapping(selector.get("matchLabels")).items()
    ]
    for item in sequence(selector.get("matchExpressions")):
        one = mapping(item)
        wanted.append((str(one.get("key")), str(one.get("operator")), list(sequence(one.get("values")))))
    for key, operator, values in wanted:
        if key.startswith(ADDED) or (partly and key not in labels):
            must = False
            continue
        has = key in labels
        if operator == "In":
            met = has and labels[key] in values
        elif operator == "NotIn":
            met = not has or labels[key] not in values
        elif operator == "Exists":
            met = has
        elif operator == "DoesNotExist":
            met = not has
        else:
            must = False
            continue
        may, must = may and met, must and met
    return Selected(may, must)
