"""Kubernetes objects as the policies see them: from manifest files here, from the engine in ``policies``.

A value that is not known yet is an :class:`Unknown` in the body, never an absent one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

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


class UnreadableError(ValueError):
    """A manifest that cannot be read; the message starts with ``file:line``."""

    def __init__(self, path: str, line: int | None, why: str) -> None:
        self.path, self.line, self.why = path, line, why
        super().__init__(f"{path}:{line}: {why}" if line else f"{path}: {why}")


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


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: no dates, no base-60 numbers, no key given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.value in seen and isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} is given twice", key_node.start_mark
                )
            seen.add(key_node.value if isinstance(key_node, yaml.ScalarNode) else id(key_node))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rx) for tag, rx in resolvers if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^(?:[-+]?(?:0|[1-9][0-9]*)|0o?[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)


def _documents(path: Path) -> Iterator[tuple[Any, int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise UnreadableError(str(path), None, why) from None
    if path.suffix == ".json":
        try:
            yield json.loads(text), 1
        except ValueError as error:
            raise UnreadableError(str(path), getattr(error, "lineno", 1), f"not JSON: {error}") from None
        return
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                yield loader.construct_document(node), node.start_mark.line + 1
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableError(str(path), mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableError(str(path), 1, f"not YAML: {error}") from None


def _files(paths: Iterable[str | Path]) -> Iterator[Path]:
    for given in map(Path, paths):
        if given.is_dir():
            found = sorted(p for p in given.rglob("*") if p.suffix in (".yaml", ".yml", ".json") and p.is_file())
            if not found:
                raise UnreadableError(str(given), None, "no .yaml, .yml or .json file in this folder")
            yield from found
        elif given.is_file():
            yield given
        else:
            raise UnreadableError(str(given), None, "no such file or folder")


def read(paths: Iterable[str | Path]) -> tuple[Object, ...]:
    """Read manifests: files or folders; YAML (also of several documents), JSON, and lists of either.

    Raises:
        UnreadableError: for a file that is missing or is not Kubernetes manifests, with its line.
    """
    objects: list[Object] = []
    for path in _files(paths):
        for body, line in _documents(path):
            if body is None:
                continue
            try:
                objects.extend(expand(body, f"{path}:{line}"))
            except ValueError as error:
                raise UnreadableError(str(path), line, str(error)) from None
    return tuple(objects)
