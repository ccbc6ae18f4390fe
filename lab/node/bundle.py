"""A container as an OCI runtime bundle: what of a pod's declaration becomes which part of ``config.json``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.api import Object
from lab.node import cgroups
from lab.node.environment import expand
from lab.node.errors import PodError
from lab.node.image import Image
from lab.node.quantity import quantity
from lab.node.seccomp import runtime_default
from lab.node.volumes import Mount

# What Docker and containerd leave a container when nothing is dropped.
_CAPABILITIES = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)
_MASKED = ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi")
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_PIDS = 2048
_PERIOD = 100_000  # microseconds of the CPU quota


def config(
    pod: Object,
    container: Object,
    image: Image,
    *,
    environment: Mapping[str, str],
    mounts: Sequence[Mount],
    termination_log: Path,
    netns: str,
    cgroup: str,
) -> Object:
    """Return the OCI configuration of a container; its root filesystem is ``rootfs`` beside it.

    Raises:
        PodError: ``CreateContainerConfigError`` when the declaration asks for what the lab does not grant.
    """
    security = {**pod["spec"].get("securityContext", {}), **container.get("securityContext", {})}
    user = _user(pod, container, security, image)
    log = Mount(termination_log, container.get("terminationMessagePath", "/dev/termination-log"), read_only=False)
    # An outer folder first: a volume on /tmp must not hide an image whose files are below /tmp on this machine.
    of_image = [Mount(path, str(path), read_only=True) for path in image.binds]
    binds = map(_bind, sorted((*of_image, *mounts, log), key=lambda mount: len(Path(mount.target).parts)))
    return {
        "ociVersion": "1.0.2",
        "hostname": hostname(pod),
        "root": {"path": "rootfs", "readonly": bool(security.get("readOnlyRootFilesystem", False))},
        "process": {
            "user": user,
            "args": _argv(container, environment),
            "env": [f"{key}={value}" for key, value in environment.items()],
            "cwd": container.get("workingDir") or "/",
            "noNewPrivileges": not security.get("allowPrivilegeEscalation", True),
            "capabilities": _capabilities(security.get("capabilities", {}), root=user["uid"] == 0),
        },
        "mounts": [*_kernel_filesystems(), *binds],
        "linux": {
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount")),
                {"type": "network", "path": f"/run/netns/{netns}"},
            ],
            "cgroupsPath": cgroup,
            "resources": _resources(container),
            "maskedPaths": [*(f"/proc/{name}" for name in _MASKED), "/sys/firmware"],
            "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY],
            **_seccomp(security.get("seccompProfile", {})),
        },
    }


def hostname(pod: Object) -> str:
    """The name a pod's containers find as their host's; Linux allows 64 characters, kubelet gives 63."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63]


def _refuse(container: Object, message: str) -> PodError:
    return PodError("CreateContainerConfigError", f'container "{container["name"]}": {message}')


def _user(pod: Object, container: Object, security: Object, image: Image) -> Object:
    if security.get("privileged"):
        raise _refuse(container, "the lab runs no privileged containers")
    uid = security.get("runAsUser", image.user)
    if security.get("runAsNonRoot") and uid == 0:
        raise _refuse(container, "container has runAsNonRoot and would run as root (runAsUser: 0)")
    gid = security.get("runAsGroup", 0 if uid == 0 else uid)
    of_pod = pod["spec"].get("securityContext", {})
    groups = {*of_pod.get("supplementalGroups", []), of_pod.get("fsGroup")} - {None}
    return {"uid": uid, "gid": gid, "additionalGids": sorted(groups)}


def _argv(container: Object, environment: Mapping[str, str]) -> list[str]:
    argv = [expand(text, environment) for text in (*container.get("command", []), *container.get("args", []))]
    if not argv:
        raise _refuse(container, "set command or args: the lab's image has no entrypoint")
    return argv


def _capabilities(declared: Object, root: bool) -> Object:
    dropped = {name.removeprefix("CAP_").upper() for name in declared.get("drop", [])}
    added = {name.removeprefix("CAP_").upper() for name in declared.get("add", [])}
    kept = added | (set() if "ALL" in dropped else set(_CAPABILITIES) - dropped)
    names = sorted(f"CAP_{name}" for name in kept)
    granted = names if root else []
    return {"bounding": names, "effective": granted, "permitted": granted, "inheritable": [], "ambient": []}


def _kernel_filesystems() -> list[Object]:
    safe = ["nosuid", "noexec", "nodev"]
    pts = [*safe[:2], "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    return [
        {"destination": to, "type": kind, "source": kind, "options": options}
        for to, kind, options in (
            ("/proc", "proc", safe),
            ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            ("/dev/pts", "devpts", pts),
            ("/dev/shm", "tmpfs", [*safe, "mode=1777", "size=65536k"]),  # noqa: S108 - inside the container
            ("/dev/mqueue", "mqueue", safe),
            ("/sys", "sysfs", [*safe, "ro"]),
        )
    ]


def _bind(mount: Mount) -> Object:
    options = ["rbind", "rprivate", "nosuid", "nodev", "ro" if mount.read_only else "rw"]
    return {"destination": mount.target, "type": "bind", "source": str(mount.source), "options": options}


def shares(container: Object) -> int:
    """The CPU a container asks for, 1024 standing for one; its limit where it asks for none, as the API defaults it."""
    resources = container.get("resources", {})
    wanted = {**resources.get("limits", {}), **resources.get("requests", {})}.get("cpu", "0")
    return min(262144, max(2, int(quantity(wanted) * 1024)))


def _resources(container: Object) -> Object:
    limits = container.get("resources", {}).get("limits", {})
    cpu: Object = {"shares": shares(container)}
    if "cpu" in limits:
        cpu |= {"period": _PERIOD, "quota": max(1000, math.ceil(quantity(limits["cpu"]) * _PERIOD))}
    memory: Object = {}
    if "memory" in limits:
        bytes_ = int(quantity(limits["memory"]))
        memory = {"memory": {"limit": bytes_, **({"swap": bytes_} if cgroups.swaps() else {})}}
    return {
        "devices": [{"allow": False, "access": "rwm"}],  # runc adds /dev/null and its kin
        "cpu": cpu,
        "pids": {"limit": _PIDS},
        **memory,
    }


def _seccomp(profile: Object) -> Object:
    match profile.get("type", "Unconfined"):
        case "Unconfined":
            return {}
        case "RuntimeDefault":
            return {"seccomp": runtime_default()}
        case other:
            raise PodError("CreateContainerConfigError", f"the lab has no seccomp profile of type {other}")


def write(folder: Path, configuration: Object) -> None:
    """Write a bundle's ``config.json``, which holds secrets of the environment: for root alone."""
    with os.fdopen(os.open(folder / "config.json", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(configuration, file)
