"""Names of objects: automatic ones, identifiers, and the field manager of a resource."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from lab.plugins.kubernetes.properties import UNKNOWN, Object, get

AUTONAMED = "pulumi.com/autonamed"


def assign(inputs: Object, name: str, seed: bytes, options: Any, previous: Object) -> str | None:
    """Gives an object without a name one of its own, as the official provider does.

    A name that was given before is kept, so that an update finds its object. The new one is ``<name>-<8 hex>``, or what
    the person's ``pulumi:autonaming`` configuration proposes.

    Args:
        inputs: the object, changed in place.
        name: the Pulumi name of the resource.
        seed: the engine's random bytes for this resource.
        options: the engine's ``AutonamingOptions``, if any.
        previous: the inputs that the resource had before, empty for a new one.

    Returns:
        Why there is no name, or ``None``.
    """
    metadata = inputs.setdefault("metadata", {})
    if metadata == UNKNOWN or metadata.get("name") or metadata.get("generateName"):
        return None
    if is_autonamed(previous) and get(previous, "metadata", "name"):
        metadata["name"] = previous["metadata"]["name"]
    elif options is not None and options.mode == options.DISABLE:
        return "automatic naming is disabled for this resource: give it a name"
    elif options is not None and options.proposed_name:
        metadata["name"] = options.proposed_name
    else:
        suffix = hashlib.sha256(seed).hexdigest()[:8] if seed else secrets.token_hex(4)
        metadata["name"] = f"{name}-{suffix}"
    annotations = metadata.setdefault("annotations", {})
    if annotations != UNKNOWN:
        annotations[AUTONAMED] = "true"
    return None


def is_autonamed(inputs: Object) -> bool:
    """Whether the provider, not the program, chose an object's name."""
    return bool(get(inputs, "metadata", "annotations", AUTONAMED) == "true")


def identifier(live: Object) -> str:
    """The Pulumi id of an object: ``namespace/name``, or ``name``."""
    name, namespace = live["metadata"]["name"], live["metadata"].get("namespace")
    return f"{namespace}/{name}" if namespace else str(name)


def parse_identifier(text: str) -> tuple[str | None, str]:
    """The namespace and name that a Pulumi id says."""
    namespace, _, name = text.rpartition("/")
    return namespace or None, name


def field_manager(urn: str) -> str:
    """The name under which a resource owns its fields: its own, and the same at every update."""
    return f"pulumi-kubernetes-{hashlib.sha256(urn.encode()).hexdigest()[:8]}"
