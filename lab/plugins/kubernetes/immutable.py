"""Which changes of an object the API server does not take, so that the object must be replaced.

The tables follow the validation of Kubernetes 1.34 (``pkg/apis/*/validation``) and, for ConfigMaps and Secrets, the
official provider: it replaces them when their data changes, so that what reads them is rolled, unless its
``enableConfigMapMutable`` or ``enableSecretMutable`` is set.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.plugins.kubernetes.cluster import ApiError
from lab.plugins.kubernetes.properties import Object, Path, get
from lab.plugins.kubernetes.tokens import Kind

_ANYWHERE = (("kind",), ("metadata", "name"), ("metadata", "namespace"))

_FIELDS: dict[tuple[str, str], tuple[Path, ...]] = {
    ("apps", "DaemonSet"): (("spec", "selector"),),
    ("apps", "Deployment"): (("spec", "selector"),),
    ("apps", "ReplicaSet"): (("spec", "selector"),),
    ("apps", "StatefulSet"): (
        ("spec", "podManagementPolicy"),
        ("spec", "selector"),
        ("spec", "serviceName"),
        ("spec", "volumeClaimTemplates"),
    ),
    ("batch", "Job"): (
        ("spec", "backoffLimitPerIndex"),
        ("spec", "completionMode"),
        ("spec", "completions"),
        ("spec", "podFailurePolicy"),
        ("spec", "selector"),
        ("spec", "successPolicy"),
        ("spec", "template"),
    ),
    ("", "ResourceQuota"): (("spec", "scopes"),),
    ("", "Secret"): (("type",),),
    ("", "Service"): (("spec", "clusterIP"), ("spec", "clusterIPs")),
    ("networking.k8s.io", "IngressClass"): (("spec", "controller"),),
    ("node.k8s.io", "RuntimeClass"): (("handler",),),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): (("roleRef",),),
    ("rbac.authorization.k8s.io", "RoleBinding"): (("roleRef",),),
    ("scheduling.k8s.io", "PriorityClass"): (("value",), ("preemptionPolicy",)),
    ("storage.k8s.io", "StorageClass"): (
        ("parameters",),
        ("provisioner",),
        ("reclaimPolicy",),
        ("volumeBindingMode",),
    ),
}

# Kinds whose spec is immutable but for these fields of it.
_MUTABLE: dict[tuple[str, str], frozenset[str]] = {
    ("", "PersistentVolumeClaim"): frozenset({"resources", "volumeAttributesClassName"}),
    ("", "PersistentVolume"): frozenset(
        {
            "accessModes",
            "capacity",
            "claimRef",
            "mountOptions",
            "persistentVolumeReclaimPolicy",
            "storageClassName",
            "volumeAttributesClassName",
        }
    ),
    ("", "Pod"): frozenset({"activeDeadlineSeconds", "containers", "initContainers", "schedulingGates", "tolerations"}),
}

_REFUSALS = ("immutable", "may not change fields", "for fields other than", "may not be changed", "cannot be updated")


@dataclass(frozen=True)
class Mutability:
    """The provider's settings that say whether the data of these kinds may change in place."""

    config_maps: bool = False
    secrets: bool = False


def forces_replacement(kind: Kind, path: Path, old: Object, new: Object, mutability: Mutability) -> bool:
    """Whether the change of one property needs a new object."""
    if kind.patch:
        return path[:2] in _ANYWHERE or path[:1] == ("kind",)
    key = (kind.group, kind.kind)
    if any(path[: len(field)] == field for field in (*_ANYWHERE, *_FIELDS.get(key, ()))):
        return True
    if path[0] == "apiVersion":
        return str(old.get("apiVersion")).rpartition("/")[0] != str(new.get("apiVersion")).rpartition("/")[0]
    if key in (("", "ConfigMap"), ("", "Secret")) and path[0] in ("data", "binaryData", "stringData", "immutable"):
        in_place = mutability.config_maps if kind.kind == "ConfigMap" else mutability.secrets
        return bool(get(old, "immutable", default=False)) or (not in_place and path[0] != "immutable")
    if key in _MUTABLE and path[0] == "spec":
        if len(path) < 2 or path[1] not in _MUTABLE[key]:
            return True
        # Of a Pod's containers, the image alone may change.
        return kind.kind == "Pod" and path[1] in ("containers", "initContainers") and path[3:] != ("image",)
    return False


def refused_as_immutable(error: ApiError) -> list[str] | None:
    """The fields for which the server refused a change because they cannot change; ``None`` for any other refusal."""
    if error.code not in (403, 422):
        return None
    causes = [cause for cause in error.causes if any(words in cause.get("message", "") for words in _REFUSALS)]
    if causes:
        return [cause.get("field", "") for cause in causes]
    return [""] if any(words in str(error) for words in _REFUSALS) else None
