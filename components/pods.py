"""The one way a testbed's pods are built: hardened, without DNS, service-account token or outside probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from components.objects import Json
from testbed import contract as c
from testbed import naming
from testbed.spec import Resources, Testbed

_WRITABLE = (("home", c.MOUNT_HOME), ("tmp", "/tmp"), ("var-tmp", "/var/tmp"))  # noqa: S108 - emptyDirs of the pod
_SECRET_MODE = 0o440  # root and the pod's group
_BURST = 1000  # millicores: starting Python with Flower is seconds of one CPU


@dataclass(frozen=True)
class Mount:
    """A volume and where a container sees it."""

    volume: str
    path: str
    source: Json
    read_only: bool = True
    sub_path: str | None = None


def config_map(volume: str, path: str) -> Mount:
    """Mount the ConfigMap called as the volume."""
    return Mount(volume, path, {"configMap": {"name": volume}})


def secret(volume: str, path: str) -> Mount:
    """Mount the Secret called as the volume."""
    return Mount(volume, path, {"secret": {"secretName": volume, "defaultMode": _SECRET_MODE}})


def claim(volume: str, path: str, *, read_only: bool = True, sub_path: str | None = None) -> Mount:
    """Mount the PersistentVolumeClaim called as the volume."""
    return Mount(volume, path, {"persistentVolumeClaim": {"claimName": volume}}, read_only, sub_path)


@dataclass(frozen=True)
class Container:
    """One process of a pod.

    Attributes:
        resources: what is kept free for it.
        burst: millicores it may take when they are free; None for the least that ``burst`` gives.
        probe: argv that exits 0 once the process serves; None for a process that serves nobody.
    """

    name: str
    argv: Sequence[str]
    resources: Resources
    mounts: tuple[Mount, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    probe: Sequence[str] | None = None
    burst: int | None = None


def split(whole: Resources) -> tuple[Resources, Resources]:
    """Divide a pod's resources between Flower's long-running process and its executor, which trains: 1 to 3."""
    small = Resources(cpu=max(whole.cpu // 4, 1), memory=max(whole.memory // 4, 1))
    rest = Resources(cpu=max(whole.cpu - small.cpu, 1), memory=max(whole.memory - small.memory, 1), gpu=whole.gpu)
    return small, rest


def quantities(resources: Resources) -> dict[str, str]:
    """Write resources as Kubernetes quantities."""
    found = {"cpu": f"{resources.cpu}m", "memory": f"{resources.memory}Mi"}
    return found | ({"nvidia.com/gpu": str(resources.gpu)} if resources.gpu else {})


def burst(whole: Resources) -> int:
    """Millicores any process of a pod may take when they are free."""
    return max(whole.cpu, _BURST)


def template(
    spec: Testbed,
    *,
    node: str,
    pull_policy: str,
    labels: dict[str, str],
    annotations: dict[str, str],
    containers: Sequence[Container],
    init: Sequence[Container] = (),
    restart: str = "Always",
) -> Json:
    """Return a pod template that Kubernetes' ``restricted`` profile admits, pinned to ``node``."""
    mounts = [mount for container in (*init, *containers) for mount in container.mounts]
    volumes = {mount.volume: mount.source for mount in mounts} | {name: {"emptyDir": {}} for name, _ in _WRITABLE}
    body = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # A custom VPC has no DNS: fail a lookup at once instead of after a time-out.
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "nodeSelector": {c.LABEL_HOSTNAME: naming.host(node)},
        "restartPolicy": restart,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": c.UID,
            "runAsGroup": c.UID,
            "fsGroup": c.UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec, pull_policy, container) for container in containers],
        "volumes": [{"name": name, **source} for name, source in volumes.items()],
    }
    if init:
        body["initContainers"] = [_container(spec, pull_policy, container) for container in init]
    return {"metadata": {"labels": {c.LABEL_TESTBED: spec.name, **labels}, "annotations": annotations}, "spec": body}


def _container(spec: Testbed, pull_policy: str, container: Container) -> Json:
    mounts: list[Json] = [{"name": name, "mountPath": path} for name, path in _WRITABLE]
    for mount in container.mounts:
        body: Json = {"name": mount.volume, "mountPath": mount.path, "readOnly": mount.read_only}
        mounts.append(body | ({"subPath": mount.sub_path} if mount.sub_path else {}))
    limit = container.resources.model_copy(update={"cpu": container.burst or burst(container.resources)})
    body = {
        "name": container.name,
        "image": spec.federation.image,
        "imagePullPolicy": pull_policy,
        "command": list(container.argv),
        "env": [{"name": k, "value": v} for k, v in ({"HOME": c.MOUNT_HOME} | container.environment).items()],
        "resources": {"requests": quantities(container.resources), "limits": quantities(limit)},
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # What a failed process said last is then in the pod's status.
        "terminationMessagePath": c.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return body | (_probes(container.probe) if container.probe else {})


def _probes(argv: Sequence[str]) -> Json:
    """Exec probes, because a kubelet reaches no port inside a custom VPC."""
    check = {"exec": {"command": list(argv)}, "timeoutSeconds": 10}
    return {
        "startupProbe": {**check, "periodSeconds": 2, "failureThreshold": 150},
        "readinessProbe": {**check, "periodSeconds": 20, "failureThreshold": 3},
        "livenessProbe": {**check, "periodSeconds": 60, "failureThreshold": 5},
    }
