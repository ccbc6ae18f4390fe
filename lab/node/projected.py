"""Volumes whose files come from the API: ConfigMaps, Secrets, the downward API, and projections of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from lab.api import Object
from lab.node.environment import Sources, field, resource_field
from lab.node.errors import PodError

KINDS = ("configMap", "secret", "downwardAPI", "projected")
Files = dict[str, tuple[bytes, int]]


def files(pod: Object, kind: str, spec: Object, sources: Sources, allocatable: Mapping[str, str]) -> Files:
    """Return a volume's files: relative path to content and mode.

    Raises:
        PodError: when an object, a key or a field is missing and not optional.
    """
    mode = spec.get("defaultMode", 0o644)
    if kind != "projected":
        return _source(pod, kind, spec, mode, sources=sources, allocatable=allocatable)
    result: Files = {}
    for source in spec.get("sources", []):
        for inner, value in source.items():
            result |= _source(pod, inner, value, mode, sources=sources, allocatable=allocatable)
    return result


def _source(
    pod: Object, kind: str, spec: Object, mode: int, *, sources: Sources, allocatable: Mapping[str, str]
) -> Files:
    namespace = pod["metadata"]["namespace"]
    if kind == "serviceAccountToken":
        token = sources.token(pod, spec.get("audience"), spec.get("expirationSeconds", 3600))
        return {_inside(spec["path"]): (token, 0o600 if mode == 0o644 else mode)}
    if kind == "downwardAPI":
        return {
            _inside(item["path"]): (_field(pod, item, allocatable), item.get("mode", mode))
            for item in spec.get("items", [])
        }
    if kind not in ("configMap", "secret"):
        raise PodError("FailedMount", f"the lab has no projected source {kind}")
    name = spec["name"] if "name" in spec else spec["secretName"]
    read = sources.config_map if kind == "configMap" else sources.secret
    optional = spec.get("optional", False)
    entries = read(namespace, name, optional) or {}
    items = spec.get("items") or [{"key": key, "path": key} for key in entries]
    result: Files = {}
    for item in items:
        if item["key"] in entries:
            result[_inside(item["path"])] = (entries[item["key"]], item.get("mode", mode))
        elif not optional:
            raise PodError("FailedMount", f'{kind} "{name}" has no key "{item["key"]}"')
    return result


def _field(pod: Object, item: Object, allocatable: Mapping[str, str]) -> bytes:
    if "fieldRef" in item:
        return field(pod, item["fieldRef"]["fieldPath"]).encode()
    return resource_field(pod, None, item["resourceFieldRef"], allocatable).encode()


def _inside(path: str) -> str:
    """Refuse a path that leads out of the volume; the API server does too."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise PodError("FailedMount", f"path {path!r} leads out of its volume")
    return path
