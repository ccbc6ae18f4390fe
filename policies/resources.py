"""The engine's resources as Kubernetes objects, with unknown values kept as such."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi_policy import proxy

from testbed.manifests import Object, Unknown, expand

# Resources of the Kubernetes provider that hold no object of their own: their children are resources too.
COMPONENTS = (
    "kubernetes:helm.sh/v3:Chart", "kubernetes:helm.sh/v4:Chart", "kubernetes:yaml:", "kubernetes:yaml/v2:",
    "kubernetes:kustomize:", "kubernetes:kustomize/v2:",
)  # fmt: skip
SENTINELS = frozenset(value for name, value in vars(proxy).items() if name.startswith("UNKNOWN_"))


def plain(value: Any) -> Any:
    """Plain data from the policy SDK's proxies; an unknown value becomes :class:`Unknown`, at any depth.

    The proxies raise where an unknown value is read, so their target is taken and searched for the engine's own
    unknown sentinels, also within a longer text.
    """
    if isinstance(value, (proxy._DictProxy, proxy._ListProxy)):
        value = value["__target"]
    if isinstance(value, str):
        if value in SENTINELS or (len(value) > 36 and any(s in value for s in SENTINELS)):
            return Unknown()
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence):
        return [plain(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # the engine's numbers are all floats
    return value if value is None or isinstance(value, (bool, int, float)) else Unknown(type(value).__name__)


@dataclass(frozen=True)
class Resource:
    """One resource of a stack, as plain data."""

    type: str
    urn: str
    name: str
    custom: bool  # made by a provider: not a component
    properties: dict[str, Any]


class Reader:
    """Turns a stack's resources into objects: the same objects for each policy that is handed the same resources."""

    def __init__(self) -> None:
        self._properties: list[Any] = []
        self._objects: tuple[Object, ...] = ()

    def objects(self, resources: Sequence[Any]) -> tuple[Object, ...]:
        """Every Kubernetes object of a stack, and each other resource as an object of a kind no rule knows.

        Args:
            resources: as ``StackValidationArgs.resources``.
        """
        properties = [r.props for r in resources]
        same = len(properties) == len(self._properties) and all(map(operator.is_, properties, self._properties))
        if not same or not properties:
            found = tuple(o for given in resources for o in _objects(_resource(given)))
            self._properties, self._objects = properties, found
        return self._objects


def _resource(given: Any) -> Resource:
    return Resource(given.resource_type, given.urn, given.name, given.provider is not None, plain(given.props))


def _objects(resource: Resource) -> Iterator[Object]:
    type_, urn = resource.type, resource.urn
    if type_.startswith(("pulumi:providers:", "pulumi:pulumi:")) or type_.startswith(COMPONENTS):
        return
    if not type_.startswith("kubernetes:"):
        # Of a resource of another provider only the text is known: it is searched for names of client networks.
        if resource.custom:
            body = {"apiVersion": f"{type_}/v1", "kind": type_.rpartition(":")[2], "metadata": {"name": resource.name}}
            yield Object({**body, "spec": _without_unknowns(resource.properties)}, urn)
        return
    version, _, kind = type_.removeprefix("kubernetes:").rpartition(":")
    patch = kind.endswith("Patch")
    body = {k: v for k, v in resource.properties.items() if not k.startswith("__")}
    if kind == "Release" and version.startswith("helm.sh"):
        # A Helm release hides what it creates from the preview.
        named = {"name": resource.name, "namespace": body.get("namespace")}
        yield Object({"apiVersion": "helm.sh/v3", "kind": "Release", "metadata": named, "spec": body}, urn)
        return
    body.setdefault("apiVersion", version.removeprefix("core/"))
    body.setdefault("kind", kind.removesuffix("Patch"))
    if body["apiVersion"] is None or body["kind"] is None:
        body |= {"apiVersion": version.removeprefix("core/"), "kind": kind.removesuffix("Patch")}
    try:
        yield from expand(body, urn, patch)
    except ValueError:
        yield Object({**body, "spec": Unknown("unreadable")}, urn, patch)


def _without_unknowns(value: Any) -> Any:
    """Drop unknown values: what another provider's resource will be called once it exists names no network of ours."""
    if isinstance(value, dict):
        return {k: _without_unknowns(v) for k, v in value.items() if not isinstance(v, Unknown)}
    if isinstance(value, list):
        return [_without_unknowns(v) for v in value if not isinstance(v, Unknown)]
    return value
