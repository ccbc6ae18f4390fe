"""The provider's configuration: which cluster, which namespace, and how carefully."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import yaml

from lab.plugins.kubernetes.cluster import Cluster, Unreachable, read_kubeconfig
from lab.plugins.kubernetes.diff import Difference, compare
from lab.plugins.kubernetes.immutable import Mutability
from lab.plugins.kubernetes.properties import UNKNOWN, Object
from lab.plugins.kubernetes.tokens import Unsupported

_REFUSED = {
    "renderYamlToDirectory": "rendering manifests to a folder (renderYamlToDirectory)",
    "cluster": "choosing a kubeconfig's cluster without a context (cluster)",
}


@dataclass
class Settings:
    """The configuration of one provider."""

    cluster: Cluster = field(default_factory=Cluster)
    namespace: str = "default"
    force: bool = False
    upsert: bool = False
    delete_unreachable: bool = False
    mutability: Mutability = field(default_factory=Mutability)

    @classmethod
    def read(cls, arguments: Object) -> Settings:
        """Reads the arguments of a ``kubernetes.Provider``; the environment gives what they leave out.

        Raises:
            Unsupported: an argument asks for what only the official provider does.
        """
        for argument, feature in _REFUSED.items():
            if arguments.get(argument):
                raise Unsupported(feature)
        if not _flag(arguments, "enableServerSideApply", "PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY", default=True):
            raise Unsupported("client-side apply (enableServerSideApply: false)")
        cluster = Cluster(arguments.get("kubeconfig"), arguments.get("context"))
        namespace = arguments.get("namespace")
        if not namespace:
            try:
                namespace = cluster.default_namespace()
            except Unreachable:
                namespace = "default"
        return cls(
            cluster=cluster,
            namespace=str(namespace),
            force=_flag(arguments, "enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE"),
            upsert=_flag(arguments, "upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS"),
            delete_unreachable=_flag(arguments, "deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE"),
            mutability=Mutability(
                config_maps=_flag(arguments, "enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE"),
                secrets=_flag(arguments, "enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE"),
            ),
        )


def check(arguments: Object) -> list[tuple[str, str]]:
    """The arguments that are wrong, each with the reason."""
    return [(argument, str(Unsupported(feature))) for argument, feature in _REFUSED.items() if arguments.get(argument)]


def difference(old: Object, new: Object) -> Difference:
    """What changes between two configurations.

    Another cluster needs other objects, so it replaces the provider and all its resources. Whether it is another one is
    told, as by the official provider, from ``clusterIdentifier`` or else from the active cluster of the kubeconfig.
    """
    result = Difference(dict(compare(old, new)))
    if old.get("clusterIdentifier") or new.get("clusterIdentifier"):
        moved = old.get("clusterIdentifier") != new.get("clusterIdentifier")
    else:
        moved = UNKNOWN not in (new.get("kubeconfig"), old.get("kubeconfig")) and _active(old) != _active(new)
    if moved:
        result.replaces = {path for path in result.changes if path[0] in ("kubeconfig", "context", "clusterIdentifier")}
    return result


def _active(arguments: Object) -> Any:
    try:
        config = read_kubeconfig(arguments.get("kubeconfig"))
    except (Unreachable, yaml.YAMLError):
        return None
    context = arguments.get("context") or config.get("current-context")
    contexts = {entry["name"]: entry.get("context") or {} for entry in config.get("contexts") or []}
    clusters = {entry["name"]: entry.get("cluster") or {} for entry in config.get("clusters") or []}
    return clusters.get(str((contexts.get(str(context)) or {}).get("cluster")))


def _flag(arguments: Object, name: str, variable: str, *, default: bool = False) -> bool:
    value = arguments.get(name, os.environ.get(variable, ""))
    return str(value).lower() in ("true", "1") if value != "" else default
