"""Kubernetes objects as the policies see them: from manifest files (``reader``) and from the engine (``policies``).

A value that is not known yet is an :class:`Unknown` in the body, never an absent one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Unknown:
    """A value that will be known only after creation."""

    what: str = "value"

    def __str__(self) -> str:
        return "(unknown)"


@dataclass(frozen=True, eq=False)
class Object:
    """One Kubernetes object.

    Attributes:
        body: the object as plain data; treat it as read-only.
        source: where it was declared: ``file:line`` or a Pulumi URN.
        patch: true when it is a server-side-apply patch of an object declared elsewhere.
    """

    body: Mapping[str, Any] = field(repr=False)
    source: str = ""
    patch: bool = False

    @cached_property
    def kind(self) -> str:
        """Kind without the ``Patch`` suffix of Pulumi's patch resources."""
        return str(self.body.get("kind", ""))

    @cached_property
    def group(self) -> str:
        """API group; empty for the core group."""
        version = str(self.body.get("apiVersion", ""))
        return version.rpartition("/")[0]

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """``metadata``, empty when absent or unknown."""
        return mapping(self.body.get("metadata"))

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """``spec``, empty when absent or unknown."""
        return mapping(self.body.get("spec"))

    @cached_property
    def name(self) -> str:
        """Name, or the ``generateName`` prefix with a star."""
        name = self.metadata.get("name")
        return str(name if name is not None else f"{self.metadata.get('generateName', '')}*")

    @cached_property
    def namespace(self) -> str:
        """Namespace; empty for a cluster-scoped kind, ``default`` when a namespaced one names none."""
        if self.kind in CLUSTER_SCOPED:
            return ""
        return str(self.metadata.get("namespace") or "default")

    @cached_property
    def labels(self) -> Mapping[str, Any]:
        """``metadata.labels``."""
        return mapping(self.metadata.get("labels"))

    @cached_property
    def annotations(self) -> Mapping[str, Any]:
        """``metadata.annotations``."""
        return mapping(self.metadata.get("annotations"))

    @cached_property
    def ref(self) -> str:
        """``Kind namespace/name`` as messages show it."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @cached_property
    def unknowns(self) -> tuple[Path_, ...]:
        """Every path whose value is unknown."""
        return tuple(unknowns(self.body))

    @cached_property
    def key(self) -> tuple[str, str, str, str]:
        """What identifies the object in a cluster."""
        return (self.group, self.kind, self.namespace, self.name)


CLUSTER_SCOPED = frozenset(
    [
        "Namespace",
        "Node",
        "PersistentVolume",
        "StorageClass",
        "ClusterRole",
        "ClusterRoleBinding",
        "PriorityClass",
        "RuntimeClass",
        "CSIDriver",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "APIService",
        "IngressClass",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "AdminNetworkPolicy",
        "BaselineAdminNetworkPolicy",
        "ClusterNetworkPolicy",
        "Vpc",
        "Subnet",
        "Vlan",
        "ProviderNetwork",
        "VpcNatGateway",
        "IptablesEIP",
        "IptablesFIPRule",
        "IptablesSnatRule",
        "IptablesDnatRule",
        "OvnEip",
        "OvnFip",
        "OvnSnatRule",
        "OvnDnatRule",
        "SwitchLBRule",
        "RouterLBRule",
        "VpcDns",
        "SecurityGroup",
        "Vip",
        "IP",
        "IPPool",
        "QoSPolicy",
    ]
)


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` when it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """``value`` when it is a list, else an empty one."""
    return value if isinstance(value, (list, tuple)) else ()


def dotted(path: Iterable[str | int]) -> str:
    """Render a path: ``spec.acls[0].match``, ``metadata.annotations["a/b"]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def unknowns(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every path below ``value`` whose value is unknown."""
    if isinstance(value, Unknown):
        yield path
    elif not _holds_unknown(value):
        return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from unknowns(item, (*path, str(key)))
    else:
        for index, item in enumerate(value):
            yield from unknowns(item, (*path, index))


def _holds_unknown(value: Any) -> bool:
    """Whether any value below ``value`` is unknown: nearly all objects hold none, and are done with here."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            continue
        if isinstance(item, (dict, Mapping)):
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
        elif isinstance(item, Unknown):
            return True
    return False


def expand(body: Any, source: str, patch: bool = False) -> Iterator[Object]:
    """One object, or every item of a ``List`` of any kind.

    Raises:
        ValueError: when ``body`` is not a Kubernetes object.
    """
    if not isinstance(body, Mapping):
        raise ValueError("not a Kubernetes object (a mapping with apiVersion and kind)")
    kind = body.get("kind")
    if isinstance(kind, Unknown) or isinstance(body.get("apiVersion"), Unknown):
        yield Object(body, source, patch)
        return
    for key in ("apiVersion", "kind"):
        if not isinstance(body.get(key), str) or not body[key]:
            raise ValueError(f"no {key}: not a Kubernetes object")
    if str(kind).endswith("Patch"):
        # Pulumi's server-side-apply patches, in manifests rendered from a program. No kind of Kubernetes ends so.
        body, kind, patch = {**body, "kind": str(kind)[:-5]}, str(kind)[:-5], True
    if str(kind).endswith("List") and "items" in body and not isinstance(body["items"], Unknown):
        items = body["items"] if body["items"] is not None else []
        if not isinstance(items, (list, tuple)):
            raise ValueError("items is not a list")
        item_defaults = {"apiVersion": body["apiVersion"], "kind": str(kind)[:-4]} if kind != "List" else {}
        for item in items:
            yield from expand({**item_defaults, **item} if isinstance(item, Mapping) else item, source, patch)
        return
    yield Object(body, source, patch)
