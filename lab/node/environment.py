"""A container's environment, and the pod's own fields as the downward API offers them."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from lab.api import Api, ApiError, Object
from lab.node.errors import PodError
from lab.node.quantity import quantity

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")
_NOTHING: Object = {}


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` where NAME is known; ``$$`` is a dollar. Source: kubernetes third_party/forked/expansion."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else values.get(match[2], match[0])

    return _REFERENCE.sub(replacement, text)


def field(pod: Object, path: str) -> str:
    """Return a pod field by its downward API path.

    Raises:
        PodError: when the downward API has no such field.
    """
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", _NOTHING)
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        return str(metadata.get(subscript[1], _NOTHING).get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.split(".")[1], _NOTHING)
        return "\n".join(f'{k}="{_escape(v)}"' for k, v in sorted(entries.items()))
    simple: dict[str, Callable[[], Any]] = {
        "metadata.name": lambda: metadata["name"],
        "metadata.namespace": lambda: metadata["namespace"],
        "metadata.uid": lambda: metadata["uid"],
        "spec.nodeName": lambda: spec.get("nodeName", ""),
        "spec.serviceAccountName": lambda: spec.get("serviceAccountName", ""),
        "status.hostIP": lambda: status.get("hostIP", ""),
        "status.hostIPs": lambda: ",".join(i["ip"] for i in status.get("hostIPs", [])),
        "status.podIP": lambda: status.get("podIP", ""),
        "status.podIPs": lambda: ",".join(i["ip"] for i in status.get("podIPs", [])),
    }
    if path not in simple:
        raise PodError("CreateContainerConfigError", f"fieldRef {path!r} is not one of {', '.join(sorted(simple))}")
    return str(simple[path]())


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_field(pod: Object, container: Object | None, selector: Object, allocatable: Mapping[str, str]) -> str:
    """Return a container's request or limit in units of the divisor, rounded up; a missing limit is the node's."""
    wanted = selector.get("containerName")
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    chosen = next((c for c in containers if c["name"] == wanted), container)
    kind, _, name = selector["resource"].partition(".")
    resources = (chosen or _NOTHING).get("resources", _NOTHING)
    default = allocatable.get(name, "0") if kind == "limits" else "0"
    amount = resources.get(kind, _NOTHING).get(name, default)
    divisor = quantity(selector.get("divisor") or "1") or 1
    return str(math.ceil(quantity(amount) / divisor))


class Sources:
    """The ConfigMaps and Secrets of the pods' namespaces, read from the API server."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def config_map(self, namespace: str, name: str, optional: bool = False) -> dict[str, bytes] | None:
        """Return a ConfigMap's entries, or None when it is absent and optional."""
        found = self._read("configmap", f"/api/v1/namespaces/{namespace}/configmaps/{name}", optional)
        if found is None:
            return None
        text = {k: v.encode() for k, v in (found.get("data") or {}).items()}
        return text | {k: base64.b64decode(v) for k, v in (found.get("binaryData") or {}).items()}

    def secret(self, namespace: str, name: str, optional: bool = False) -> dict[str, bytes] | None:
        """Return a Secret's entries, or None when it is absent and optional."""
        found = self._read("secret", f"/api/v1/namespaces/{namespace}/secrets/{name}", optional)
        return None if found is None else {k: base64.b64decode(v) for k, v in (found.get("data") or {}).items()}

    def token(self, pod: Object, audience: str | None, seconds: int) -> bytes:
        """Return a service-account token bound to the pod."""
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        reference = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        spec = {"expirationSeconds": seconds, "boundObjectRef": reference}
        request = {"spec": spec | ({"audiences": [audience]} if audience else {})}
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        return str(self._api.create(path, request)["status"]["token"]).encode()

    def get(self, path: str) -> Object:
        """Read any other object the pod depends on."""
        return self._api.get(path)

    def _read(self, kind: str, path: str, optional: bool) -> Object | None:
        try:
            return self._api.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            if optional:
                return None
            name = path.rpartition("/")[2]
            raise PodError("CreateContainerConfigError", f'{kind} "{name}" not found') from None


def environment(
    pod: Object, container: Object, sources: Sources, allocatable: Mapping[str, str], image: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a container: the image's, then ``envFrom``, then ``env`` in order.

    Raises:
        PodError: ``CreateContainerConfigError`` naming the missing ConfigMap, Secret, key or field.
    """
    namespace = pod["metadata"]["namespace"]
    result = {**image, "HOSTNAME": pod["metadata"]["name"]}
    for source in container.get("envFrom", []):
        entries: dict[str, bytes] | None = None
        for kind, read in (("configMapRef", sources.config_map), ("secretRef", sources.secret)):
            if kind in source:
                entries = read(namespace, source[kind]["name"], source[kind].get("optional", False))
        result |= {source.get("prefix", "") + k: v.decode(errors="replace") for k, v in (entries or {}).items()}
    own: dict[str, str] = {}  # what a later entry may refer to
    for entry in container.get("env", []):
        value = _value(pod, container, entry, sources=sources, allocatable=allocatable, own=own)
        if value is not None:
            own[entry["name"]] = value
    return result | own


def _value(
    pod: Object,
    container: Object,
    entry: Object,
    *,
    sources: Sources,
    allocatable: Mapping[str, str],
    own: Mapping[str, str],
) -> str | None:
    origin = entry.get("valueFrom")
    if origin is None:
        return expand(entry.get("value", ""), own)
    if "fieldRef" in origin:
        return field(pod, origin["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in origin:
        return resource_field(pod, container, origin["resourceFieldRef"], allocatable)
    for kind, read in (("configMapKeyRef", sources.config_map), ("secretKeyRef", sources.secret)):
        if kind in origin:
            selector = origin[kind]
            optional = selector.get("optional", False)
            entries = read(pod["metadata"]["namespace"], selector["name"], optional)
            if entries is not None and selector["key"] in entries:
                return entries[selector["key"]].decode(errors="replace")
            if optional:
                return None
            what = f"couldn't find key {selector['key']!r} in {kind.removesuffix('KeyRef')} {selector['name']!r}"
            raise PodError("CreateContainerConfigError", f"{what} (environment variable {entry['name']})")
    kinds = ", ".join(sorted(origin))
    raise PodError("CreateContainerConfigError", f"environment variable {entry['name']}: valueFrom {kinds} is unknown")
