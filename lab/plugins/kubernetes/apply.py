"""Server-side apply: what a resource's inputs become on the API server, for real or as a dry run."""

from __future__ import annotations

import copy
import re
from typing import Any

from lab.plugins.kubernetes.cluster import ApiError, Cluster, Served
from lab.plugins.kubernetes.properties import UNKNOWN, Object, get
from lab.plugins.kubernetes.tokens import Kind

FORCE = "pulumi.com/patchForce"
_MANAGER = re.compile(r'conflict with "([^"]+)"')
_VOLATILE = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink")


class ConflictError(Exception):
    """Another field manager owns a field that the resource sets."""


def describe(kind: Kind, inputs: Object) -> str:
    """An object as messages name it: ``ConfigMap lab/settings``."""
    metadata = inputs.get("metadata")
    name = get(metadata, "name") or f"{get(metadata, 'generateName', default='')}*"
    namespace = get(metadata, "namespace")
    return f"{kind.kind} {namespace}/{name}" if namespace else f"{kind.kind} {name}"


def forced(inputs: Object, default: bool) -> bool:
    """Whether a resource takes over fields that others own."""
    value = get(inputs, "metadata", "annotations", FORCE)
    return default if value is None else str(value).lower() == "true"


def apply(cluster: Cluster, kind: Kind, inputs: Object, manager: str, *, force: bool, dry_run: bool = False) -> Object:
    """Applies a resource's inputs, owning their fields as ``manager``.

    Returns:
        The object as the server has it afterwards, or would have it after a dry run.

    Raises:
        ConflictError: another manager owns one of the fields, and ``force`` is false.
        ApiError: the server refuses the object.
        UnknownKindError: the server does not serve the kind.
        Unreachable: the server does not answer.
    """
    served = cluster.served(kind)
    body = _body(kind, inputs, served)
    query: dict[str, Any] = {"fieldManager": manager, "fieldValidation": "Strict"}
    if dry_run:
        query["dryRun"] = "All"
    namespace, name = get(body, "metadata", "namespace"), get(body, "metadata", "name")
    if not name:
        return cluster.request("POST", served.path(namespace), query=query, body=body)
    try:
        return cluster.request(
            "PATCH",
            served.path(namespace, name),
            query={**query, "force": "true" if force else "false"},
            body=body,
            content_type="application/apply-patch+yaml",
        )
    except ApiError as error:
        if error.code == 409 and any(cause.get("reason") == "FieldManagerConflict" for cause in error.causes):
            raise ConflictError(_explain(kind, body, error)) from None
        raise


def relinquish(cluster: Cluster, kind: Kind, namespace: str | None, name: str, manager: str) -> None:
    """Gives up every field that ``manager`` owns: those that nobody else owns are removed from the object."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    apply(cluster, kind, {"metadata": metadata}, manager, force=True)


def outputs(live: Object, manager: str) -> Object:
    """A live object as a resource's outputs: without the bookkeeping of fields, with what later updates need."""
    result = copy.deepcopy(live)
    result.get("metadata", {}).pop("managedFields", None)
    result["__fieldManager"] = manager
    result["__initialApiVersion"] = live.get("apiVersion", "")
    return result


def predicted(dry: Object, inputs: Object, manager: str, *, creating: bool) -> Object:
    """A dry run's object as a preview's outputs: what the real run would give another value is unknown or left out."""
    result = outputs(dry, manager)
    metadata = result.get("metadata", {})
    for field in _VOLATILE:
        metadata.pop(field, None)
    result.pop("status", None)
    if creating:
        metadata["uid"] = UNKNOWN
        if not get(inputs, "metadata", "name"):
            metadata["name"] = UNKNOWN
        if result.get("kind") == "Service":
            _forget_allocations(result.get("spec", {}), inputs.get("spec") or {})
    return result


def _forget_allocations(spec: Object, given: Object) -> None:
    """Makes unknown the addresses and ports that a dry run allocates: the real run will allocate others."""
    if spec.get("clusterIP") not in (None, "None") and "clusterIP" not in given:
        spec["clusterIP"] = UNKNOWN
        spec["clusterIPs"] = UNKNOWN
    for index, port in enumerate(spec.get("ports") or []):
        if "nodePort" in port and not get(given, "ports", index, "nodePort"):
            port["nodePort"] = UNKNOWN


def _body(kind: Kind, inputs: Object, served: Served) -> Object:
    body = {**inputs, "apiVersion": kind.api_version, "kind": kind.kind}
    if not served.namespaced and "namespace" in (body.get("metadata") or {}):
        body["metadata"] = {key: value for key, value in body["metadata"].items() if key != "namespace"}
    return body


def _explain(kind: Kind, body: Object, error: ApiError) -> str:
    owned = []
    for cause in error.causes:
        found = _MANAGER.search(cause.get("message", ""))
        owned.append(f"{cause.get('field')} is managed by {found.group(1) if found else cause.get('message')!r}")
    return (
        f"{describe(kind, body)}: {'; '.join(owned)}. Leave the field to it (remove it from the program), or take it "
        f'over with the annotation {FORCE}: "true"'
    )
