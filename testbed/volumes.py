"""Which piece of storage a pod's volume really is."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, mapping, sequence
from testbed.workloads import Pod, get

# Volume sources that hold nothing of another pod. Any other but a claim is refused in a testbed's pods.
HARMLESS = frozenset(["emptyDir", "configMap", "secret", "projected", "downwardAPI"])
# Where the kubelet mounts every volume of its node (pkg/kubelet/config/defaults.go).
KUBELET = ("/var/lib/kubelet/pods", "/var/lib/kubelet/plugins")


def absolute(path: str) -> str:
    """The folder that a path of a mount means: a relative one is below the root.

    Source: Kubernetes ``pkg/kubelet/kubelet_pods.go`` (``makeMounts``).
    """
    return posixpath.normpath("/" + path.lstrip("/"))


def inside(path: str, folder: str) -> bool:
    """Whether a path is a folder, or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


@dataclass(frozen=True)
class Storage:
    """A piece of storage.

    Attributes:
        nodes: hosts or file servers it is on; empty when it is not tied to any.
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
        return inside(self.path, other.path) or inside(other.path, self.path)


@dataclass(frozen=True, eq=False)
class Source:
    """What a name among a pod's volumes stands for.

    Attributes:
        kind: ``emptyDir``, ``persistentVolumeClaim`` and so on, or ``volumeClaimTemplate``.
        path: of its entry, from the owner's root.
    """

    kind: str
    path: Path_
    body: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Mount:
    """One mount of a container.

    Attributes:
        path: of the mount, from the owner's root.
        folder: where the container sees it.
        device: whether it is a block device.
    """

    path: Path_
    name: str
    folder: str
    body: Mapping[str, Any]
    device: bool


@dataclass(frozen=True, eq=False)
class Use:
    """One mount of a claim or host folder in a container.

    Attributes:
        path: of the mount, from the owner's root.
        volume: path of the volume's entry.
        mount_path: where the container sees it.
        sub_path: the folder of the volume that it sees, ``/`` for all of it.
    """

    pod: Pod
    storage: Storage
    path: Path_
    volume: Path_
    mount_path: str
    sub_path: str
    read_only: bool

    @property
    def container(self) -> Path_:
        """Path of the container."""
        return self.path[:-2]


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


def _of_source(name: str, spec: Mapping[str, Any], nodes: frozenset[str] = frozenset()) -> Storage:
    """The storage of a volume's or PersistentVolume's source, where it can be compared with others."""
    for kind in ("local", "hostPath"):
        path = get(spec, (kind, "path"))
        if isinstance(path, str):
            folder = absolute(path)
            everything = any(inside(folder, k) or inside(k, folder) for k in KUBELET)
            return Storage(name, "/" if everything else folder, nodes)
    nfs, csi = mapping(spec.get("nfs")), mapping(spec.get("csi"))
    if nfs:
        server = str(nfs.get("server")).lower().rstrip(".")
        return Storage(name, absolute(str(nfs.get("path"))), frozenset([f"NFS server {server}"]))
    if csi.get("volumeHandle"):
        problem = "spec.csi.volumeAttributes may name the storage of another handle"
        known = f"CSI volume {csi['volumeHandle']} of {csi.get('driver')}"
        return Storage(known, problem=problem if csi.get("volumeAttributes") else None)
    return Storage(name, problem=f"the source of {name} is none of local, hostPath, nfs and csi")


class Volumes:
    """Claims and volumes of a set of objects."""

    def __init__(self, objects: Iterable[Object]) -> None:
        objects = tuple(objects)
        core = [o for o in objects if o.group == ""]
        self.volumes = {o.name: o for o in core if o.kind == "PersistentVolume"}
        self.claims = {(o.namespace, o.name): o for o in core if o.kind == "PersistentVolumeClaim"}
        self.static = {
            o.name
            for o in objects
            if o.kind == "StorageClass" and o.body.get("provisioner") == "kubernetes.io/no-provisioner"
        } | {str(v.spec.get("storageClassName")) for v in self.volumes.values()}
        self.free: dict[str, list[str]] = {}  # by class, those that any claim may take
        for name, volume in self.volumes.items():
            if not volume.spec.get("claimRef"):
                self.free.setdefault(str(volume.spec.get("storageClassName") or ""), []).append(name)

    def claim(self, namespace: str, name: str) -> list[Storage]:
        """The storage that a declared claim may bind."""
        claim = self.claims.get((namespace, name))
        if claim is None:
            problem = f"PersistentVolumeClaim {namespace}/{name} is not among the resources"
            return [Storage(f"claim {namespace}/{name}", problem=problem)]
        return self.bound(f"claim {namespace}/{name}", claim.spec)

    def bound(self, claim: str, spec: Mapping[str, Any]) -> list[Storage]:
        """The storage that a claim of this spec may bind.

        A ``claimRef`` alone proves nothing: a reserved volume that does not fit the claim is passed over for another
        (Kubernetes ``component-helpers/storage/volume/pv_helpers.go``, ``FindMatchingVolume``).
        """
        for field in ("dataSource", "dataSourceRef"):
            if spec.get(field):
                return [Storage(claim, problem=f"spec.{field} fills it with other data")]
        if spec.get("volumeName"):
            return [self._named(str(spec["volumeName"]))]
        class_ = str(spec.get("storageClassName") or "")
        if class_ and class_ not in self.static:
            return [Storage(claim)]  # provisioned for this claim alone
        problem = "it may bind any volume: set spec.volumeName"
        free = [self._named(name) for name in self.free.get(class_, ())]
        return [Storage(claim, problem=problem), *(replace(storage, problem=problem) for storage in free)]

    def _named(self, name: str) -> Storage:
        label = f"PersistentVolume {name}"
        volume = self.volumes.get(name)
        if volume is None:
            return Storage(label, problem=f"{label} is not among the resources")
        return _of_source(label, volume.spec, _nodes(volume))

    def templated(self, pod: Pod, template: str, spec: Mapping[str, Any]) -> list[Storage]:
        """What a StatefulSet's claims of a template bind: those that exist already are taken as they are.

        Source: Kubernetes ``pkg/controller/statefulset/stateful_set_utils.go`` (``getPersistentVolumeClaimName``).
        """
        name = f"{template}-{pod.owner.name}"
        known = re.compile(rf"{re.escape(name)}-\d+")
        existing = [n for space, n in self.claims if space == pod.namespace and known.fullmatch(n)]
        found = self.bound(f"claim {pod.namespace}/{name}", spec)
        return [*found, *(storage for n in existing for storage in self.claim(pod.namespace, n))]


def sources(pod: Pod) -> dict[str, Source]:
    """A pod's volumes by name. A StatefulSet's template takes the place of the volume of its name.

    Source: Kubernetes ``pkg/controller/statefulset/stateful_set_utils.go`` (``updateStorage``), and
    ``pkg/apis/core/v1/defaults.go`` (``SetDefaults_Volume``).
    """
    found = {}
    for index, entry in enumerate(sequence(pod.spec.get("volumes"))):
        volume = mapping(entry)
        kind = " and ".join(k for k, v in volume.items() if k != "name" and v is not None) or "emptyDir"
        source = Source(kind, pod.path("spec", "volumes", index), mapping(volume.get(kind)))
        found[str(volume.get("name"))] = source
    if pod.owner.kind == "StatefulSet":
        for index, entry in enumerate(sequence(pod.owner.spec.get("volumeClaimTemplates"))):
            name = str(get(entry, ("metadata", "name")))
            path: Path_ = ("spec", "volumeClaimTemplates", index)
            found[name] = Source("volumeClaimTemplate", path, mapping(entry))
    return found


def mounts(path: Path_, container: Mapping[str, Any]) -> Iterator[Mount]:
    """Every mount of the container at ``path``."""
    for field, where in (("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")):
        for index, entry in enumerate(sequence(container.get(field))):
            body = mapping(entry)
            folder = absolute(str(body.get(where)))
            yield Mount((*path, field, index), str(body.get("name")), folder, body, field == "volumeDevices")


def _storage(pod: Pod, name: str, source: Source, volumes: Volumes) -> list[Storage]:
    if source.kind in HARMLESS:
        return []
    if source.kind == "persistentVolumeClaim":
        return volumes.claim(pod.namespace, str(source.body.get("claimName")))
    if source.kind == "hostPath":
        return [_of_source(f"hostPath {source.body.get('path')}", {"hostPath": source.body})]
    if source.kind == "volumeClaimTemplate":
        found = volumes.templated(pod, name, mapping(source.body.get("spec")))
    elif source.kind == "ephemeral":
        spec = mapping(get(source.body, ("volumeClaimTemplate", "spec")))
        found = volumes.bound(f"claim of {name} in {pod.name}", spec)
    else:
        found = [_of_source(f"{source.kind} volume {name} of {pod.name}", {source.kind: source.body})]
    return [replace(s, problem=f"a volume of kind {source.kind} may hold anything") for s in found]


def uses(pod: Pod, volumes: Volumes) -> Iterator[Use]:
    """Every mount of a claim, a host folder or other lasting storage by a pod."""
    named = sources(pod)
    stores = {name: _storage(pod, name, source, volumes) for name, source in named.items()}
    for container_path, container in pod.containers():
        for mount in mounts(container_path, container):
            for storage in stores.get(mount.name, ()):
                source = named[mount.name]
                read_only = True in (mount.body.get("readOnly"), source.body.get("readOnly"))
                part = absolute(str(mount.body.get("subPath") or ""))
                unclear = bool(mount.body.get("subPathExpr")) or mount.device
                seen = replace(storage, problem="subPathExpr or a block device") if unclear else storage
                yield Use(pod, seen, mount.path, source.path, mount.folder, part, read_only)


def unused(pod: Pod) -> Iterator[tuple[Path_, Any]]:
    """Host folders a pod names, mounted or not."""
    for index, entry in enumerate(sequence(pod.spec.get("volumes"))):
        if "hostPath" in mapping(entry):
            yield pod.path("spec", "volumes", index, "hostPath"), mapping(entry)["hostPath"]
