"""Which piece of storage a pod's volume really is."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, mapping, sequence
from testbed.workloads import Pod, get


@dataclass(frozen=True)
class Storage:
    """A piece of storage.

    Attributes:
        nodes: hosts it is on; empty when it is not tied to any.
        path: folder on those hosts; None for storage known by ``name`` alone.
        problem: why it cannot be told which storage it is.
    """

    name: str
    path: str | None = None
    nodes: frozenset[str] = frozenset()
    problem: str | None = None

    def overlaps(self, other: Storage) -> bool:
        """Whether one may hold data of the other."""
        if self.path is None or other.path is None:
            return self.name == other.name
        if self.nodes and other.nodes and not self.nodes & other.nodes:
            return False
        one, two = self.path.rstrip("/") + "/", other.path.rstrip("/") + "/"
        return one.startswith(two) or two.startswith(one)


@dataclass(frozen=True, eq=False)
class Use:
    """One mount of a claim or host folder in a container.

    Attributes:
        path: of the mount, from the owner's root.
        volume: path of the volume's entry.
        mount_path: where the container sees it.
    """

    pod: Pod
    storage: Storage
    path: Path_
    volume: Path_
    mount_path: str
    read_only: bool


def _nodes(volume: Object) -> frozenset[str]:
    found = set()
    for term in sequence(get(volume.spec, ("nodeAffinity", "required", "nodeSelectorTerms"))):
        hosts: set[str] | None = None
        for one in sequence(mapping(term).get("matchExpressions")):
            expression = mapping(one)
            if expression.get("key") == c.LABEL_HOSTNAME and expression.get("operator") == "In":
                hosts = {str(v) for v in sequence(expression.get("values"))}
        if hosts is None:
            return frozenset()
        found |= hosts
    return frozenset(found)


def _of_volume(volume: Object) -> Storage:
    for kind in ("local", "hostPath"):
        path = get(volume.spec, (kind, "path"))
        if isinstance(path, str):
            return Storage(f"PersistentVolume {volume.name}", posixpath.normpath(path), _nodes(volume))
    source = {
        k: v
        for k, v in volume.spec.items()
        if k
        not in (
            "capacity",
            "accessModes",
            "claimRef",
            "nodeAffinity",
            "persistentVolumeReclaimPolicy",
            "storageClassName",
        )
        and isinstance(v, Mapping)
    }
    return Storage(json.dumps(source, sort_keys=True, default=str) if source else f"PersistentVolume {volume.name}")


class Volumes:
    """Claims and volumes of a set of objects."""

    def __init__(self, objects: Iterable[Object]) -> None:
        objects = tuple(objects)
        core = [o for o in objects if o.group == ""]
        self.volumes = {o.name: o for o in core if o.kind == "PersistentVolume"}
        self.claims = {(o.namespace, o.name): o for o in core if o.kind == "PersistentVolumeClaim"}
        self.reserved: dict[tuple[str, str], list[Object]] = {}
        for volume in self.volumes.values():
            wanted = mapping(volume.spec.get("claimRef"))
            if wanted:
                key = (str(wanted.get("namespace")), str(wanted.get("name")))
                self.reserved.setdefault(key, []).append(volume)
        self.static = {
            o.name
            for o in objects
            if o.kind == "StorageClass" and o.body.get("provisioner") == "kubernetes.io/no-provisioner"
        } | {str(v.spec.get("storageClassName")) for v in self.volumes.values()}

    def claim(self, namespace: str, name: str) -> Storage:
        """The storage a claim binds."""
        key = (namespace, name)
        claim = self.claims.get(key)
        if claim is None:
            return Storage(
                f"claim {namespace}/{name}",
                problem=f"PersistentVolumeClaim {namespace}/{name} is not among the resources",
            )
        for field in ("dataSource", "dataSourceRef"):
            if claim.spec.get(field):
                return Storage(f"claim {namespace}/{name}", problem=f"spec.{field} fills it with other data")
        named = claim.spec.get("volumeName")
        bound = self.reserved.get(key, [])
        if named:
            volume = self.volumes.get(str(named))
            if volume is None:
                return Storage(
                    f"PersistentVolume {named}", problem=f"PersistentVolume {named} is not among the resources"
                )
            return _of_volume(volume)
        if len(bound) == 1:
            return _of_volume(bound[0])
        class_ = claim.spec.get("storageClassName")
        if bound or class_ in (None, "") or class_ in self.static:
            return Storage(f"claim {namespace}/{name}", problem="it may bind any volume: set spec.volumeName")
        return Storage(f"claim {namespace}/{name}")  # provisioned for this claim alone


def uses(pod: Pod, volumes: Volumes) -> Iterator[Use]:
    """Every mount of a claim, a host folder or other lasting storage by a pod."""
    sources: dict[str, tuple[Path_, Storage]] = {}
    templates = {
        str(mapping(mapping(t).get("metadata")).get("name"))
        for t in sequence(pod.owner.spec.get("volumeClaimTemplates"))
    }
    for name in templates:
        storage = Storage(f"claim {pod.namespace}/{name}-{pod.owner.name}")
        sources[name] = (("spec", "volumeClaimTemplates"), storage)
    for index, entry in enumerate(sequence(pod.spec.get("volumes"))):
        volume, path = mapping(entry), pod.path("spec", "volumes", index)
        claim, host = mapping(volume.get("persistentVolumeClaim")), mapping(volume.get("hostPath"))
        other = [k for k in volume if k not in HARMLESS and k not in ("name", "persistentVolumeClaim", "hostPath")]
        if claim:
            sources[str(volume.get("name"))] = (path, volumes.claim(pod.namespace, str(claim.get("claimName"))))
        elif host:
            place = Storage(f"hostPath {host.get('path')}", posixpath.normpath(str(host.get("path"))))
            sources[str(volume.get("name"))] = (path, place)
        elif other:
            problem = f"storage of kind {other[0]} is outside the model"
            sources[str(volume.get("name"))] = (path, Storage(f"{other[0]} of {pod.name}", problem=problem))
    for container_path, container in pod.containers():
        for field, where in (("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")):
            for index, entry in enumerate(sequence(container.get(field))):
                mount = mapping(entry)
                found = sources.get(str(mount.get("name")))
                if found:
                    volume_path, storage = found
                    claim_read_only = get(pod.owner.body, (*volume_path, "persistentVolumeClaim", "readOnly")) is True
                    if mount.get("subPathExpr") or field == "volumeDevices":
                        storage = Storage(storage.name, storage.path, storage.nodes, "subPathExpr or a block device")
                    path, seen = (*container_path, field, index), posixpath.normpath(str(mount.get(where)))
                    yield Use(pod, storage, path, volume_path, seen, mount.get("readOnly") is True or claim_read_only)


# Volume sources that hold nothing of another pod.
HARMLESS = frozenset(["emptyDir", "configMap", "secret", "projected", "downwardAPI", "ephemeral", "image"])


def unused(pod: Pod) -> Iterator[tuple[Path_, Any]]:
    """Host folders a pod names, mounted or not."""
    for index, entry in enumerate(sequence(pod.spec.get("volumes"))):
        if "hostPath" in mapping(entry):
            yield pod.path("spec", "volumes", index, "hostPath"), mapping(entry)["hostPath"]
