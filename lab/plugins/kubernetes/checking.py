"""The first look at a resource's inputs: what is missing is filled in, what cannot be is refused."""

from __future__ import annotations

from typing import Any

from lab.plugins.kubernetes import naming
from lab.plugins.kubernetes.operations import Operations
from lab.plugins.kubernetes.properties import UNKNOWN, Object, render
from lab.plugins.kubernetes.tokens import Kind


def check(
    operations: Operations, kind: Kind, inputs: Object, previous: Object, *, name: str, seed: bytes, options: Any
) -> list[tuple[str, str]]:
    """Completes the inputs in place with ``apiVersion``, ``kind``, name and namespace.

    The server judges everything else: a field that it refuses fails the preview, with the server's own words.

    Returns:
        The properties that are wrong, each with the reason.
    """
    inputs.setdefault("apiVersion", kind.api_version)
    inputs.setdefault("kind", kind.kind)
    if inputs["kind"] not in (kind.kind, UNKNOWN):
        return [("kind", f"the resource's type is of kind {kind.kind}, not {inputs['kind']}")]
    metadata = inputs.setdefault("metadata", {})
    if metadata == UNKNOWN:
        return []
    if not isinstance(metadata, dict):
        return [("metadata", f"{metadata!r} is no object with a name, labels and annotations")]
    failures = [
        (render(("metadata", field, key)), f"labels and annotations are text, and {value!r} is not: quote it")
        for field in ("labels", "annotations")
        if isinstance(metadata.get(field), dict)
        for key, value in metadata[field].items()
        if not isinstance(value, str)
    ]
    if kind.patch:
        if not metadata.get("name"):
            failures.append(("metadata.name", "a patch must name the object that it changes"))
    else:
        missing = naming.assign(inputs, name, seed, options, previous)
        if missing:
            failures.append(("metadata.name", missing))
    if "namespace" not in metadata and operations.namespaced(kind):
        metadata["namespace"] = operations.settings.namespace
    return failures
