"""Renders testbeds for tests: under Pulumi mocks, without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.render import Manifest, render
from testbed import stackfile
from testbed.spec import Testbed

ROOT = Path(__file__).parents[2]

__all__ = ["Manifest", "config", "find", "identity", "render", "spec"]


def config(stack: str = "lab", **changes: Any) -> dict[str, Any]:
    """Configuration of a stack file with changes: ``server__port=1`` sets ``kubeflower:server``'s ``port``."""
    values = stackfile.load(stackfile.where(stack, ROOT))
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = values
        for i, part in enumerate(parents):
            target = target.setdefault(part if i else stackfile.PREFIX + part, {})
        target[last if parents else stackfile.PREFIX + last] = value
    return values


def spec(stack: str = "lab", name: str | None = None, **changes: Any) -> Testbed:
    """Testbed of a stack file with changes."""
    return stackfile.build(name or stack, config(stack, **changes))


def identity(manifest: Manifest) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    where = manifest["metadata"]
    return manifest["kind"], where.get("namespace", ""), where["name"]


def find(manifests: list[Manifest], kind: str, name: str, namespace: str = "") -> Manifest:
    """The one manifest of that kind, name and namespace."""
    (found,) = [m for m in manifests if identity(m) == (kind, namespace, name)]
    return found
