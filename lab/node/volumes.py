"""A pod's volumes: folders on the node that containers mount."""

from __future__ import annotations

import math
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.api import ApiError, Object
from lab.node import projected
from lab.node.environment import Sources, expand
from lab.node.errors import PodError
from lab.node.ownership import give_to_group
from lab.node.quantity import quantity
from lab.paths import Paths


@dataclass(frozen=True)
class Mount:
    """One bind mount of a container."""

    source: Path
    target: str
    read_only: bool


@dataclass(frozen=True)
class Volume:
    """A set-up volume: its folder, and whether its source allows writing."""

    path: Path
    read_only: bool = False


class Volumes:
    """The volumes of one pod.

    Args:
        pod: the pod object.
        folder: where folders of the pod's own are made.
        paths: the lab's folder, for the node's disk.
        node: the node's name in the configuration, as ``E1``.
    """

    def __init__(self, pod: Object, folder: Path, paths: Paths, node: str, sources: Sources) -> None:
        self._pod, self._folder, self._paths, self._node, self._sources = pod, folder, paths, node, sources
        self._group: int | None = pod["spec"].get("securityContext", {}).get("fsGroup")
        self._volumes: dict[str, Volume] = {}

    def set_up(self, allocatable: Mapping[str, str]) -> None:
        """Make every volume of the pod available.

        Raises:
            PodError: ``FailedMount`` with the volume and what is wrong with it.
        """
        for spec in self._pod["spec"].get("volumes", []):
            name = spec["name"]
            if name in self._volumes:
                continue
            kind = next(k for k in spec if k != "name") if len(spec) > 1 else "emptyDir"
            try:
                if kind == "emptyDir":
                    self._volumes[name] = self._empty(name, spec.get(kind) or {})
                elif kind == "persistentVolumeClaim":
                    self._volumes[name] = self._claim(spec[kind])
                elif kind in projected.KINDS:
                    files = projected.files(self._pod, kind, spec[kind], self._sources, allocatable)
                    self._volumes[name] = self._projected(name, files)
                elif kind == "hostPath":
                    raise PodError("FailedMount", "the lab has no hostPath: a pod sees nothing of its node's own files")
                else:
                    raise PodError("FailedMount", f"the lab has no volumes of type {kind}")
            except PodError as error:
                raise PodError(
                    "FailedMount", f'MountVolume.SetUp failed for volume "{name}" : {error.message}'
                ) from None

    def mounts(self, container: Object, environment: Mapping[str, str]) -> list[Mount]:
        """Return a container's mounts, with sub-paths made and writable ones given to the pod's ``fsGroup``.

        Raises:
            PodError: when a sub-path leads out of its volume.
        """
        result = []
        for spec in container.get("volumeMounts", []):
            volume = self._volumes[spec["name"]]
            read_only = volume.read_only or spec.get("readOnly", False)
            sub_path = spec.get("subPath") or expand(spec.get("subPathExpr", ""), environment)
            source = self._sub_path(spec["name"], volume, sub_path) if sub_path else volume.path
            if not read_only and self._group is not None:
                policy = self._pod["spec"]["securityContext"].get("fsGroupChangePolicy", "Always")
                give_to_group(source, self._group, only_on_mismatch=policy == "OnRootMismatch")
            result.append(Mount(source, spec["mountPath"], read_only))
        return result

    def _empty(self, name: str, spec: Object) -> Volume:
        path = self._folder / name
        path.mkdir(parents=True, exist_ok=True)
        if spec.get("medium") == "Memory":
            _tmpfs(path, spec.get("sizeLimit"))
        path.chmod(0o777)
        if self._group is not None:
            give_to_group(path, self._group)
        return Volume(path)

    def _projected(self, name: str, files: Mapping[str, tuple[bytes, int]]) -> Volume:
        path = self._folder / name
        path.mkdir(parents=True, exist_ok=True)
        _tmpfs(path, None)  # a secret never reaches the disk
        for relative, (content, mode) in files.items():
            file = path / relative
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(mode)
        if self._group is not None:
            give_to_group(path, self._group, writable=False)
        return Volume(path, read_only=True)

    def _claim(self, spec: Object) -> Volume:
        namespace, name = self._pod["metadata"]["namespace"], spec["claimName"]
        try:
            claim = self._sources.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
            bound = claim["spec"].get("volumeName")
            if claim.get("status", {}).get("phase") != "Bound" or not bound:
                raise PodError("FailedMount", f'PersistentVolumeClaim "{name}" is not bound')
            volume = self._sources.get(f"/api/v1/persistentvolumes/{bound}")
        except ApiError as error:
            raise PodError("FailedMount", str(error)) from None
        if "local" not in volume["spec"]:
            kinds = "hostPath, nfs or csi"
            raise PodError("FailedMount", f'PersistentVolume "{bound}" is not of type local (the lab has no {kinds})')
        path = volume["spec"]["local"]["path"]
        folder = self._paths.on_disk(self._node, path)
        if not folder.is_dir():
            raise PodError("FailedMount", f'path "{path}" does not exist on node {self._node} ({folder} in this lab)')
        only = set(claim["spec"].get("accessModes", [])) == {"ReadOnlyMany"}
        return Volume(folder, read_only=spec.get("readOnly", False) or only)

    def _sub_path(self, name: str, volume: Volume, sub_path: str) -> Path:
        base = volume.path.resolve()
        target = (base / sub_path).resolve()
        if not target.is_relative_to(base):
            raise PodError("CreateContainerConfigError", f'subPath "{sub_path}" leads out of volume "{name}"')
        missing = [p for p in (target, *target.parents) if p.is_relative_to(base) and not p.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=stat.S_IMODE(base.stat().st_mode))
            if self._group is not None:
                give_to_group(folder, self._group)
        return target


def _tmpfs(path: Path, size: str | None) -> None:
    if path.is_mount():
        return
    options = "nosuid,nodev" + (f",size={math.ceil(quantity(size))}" if size else "")
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True, capture_output=True)


def remove(folder: Path) -> None:
    """Unmount everything at or below a folder, deepest first, and delete it; never delete through a mount."""
    root = str(folder.resolve())
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    for point in sorted((p for p in points if p == root or p.startswith(root + "/")), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", point], check=True, capture_output=True)
    if folder.exists():
        shutil.rmtree(folder)
