"""A pod's status, as a pure function of its containers' states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.api import Object

LOST = {"exitCode": 137, "reason": "ContainerStatusUnknown"}


@dataclass
class ContainerState:
    """What is reported of one container; ``state`` and ``last_state`` are the API's own objects."""

    name: str
    image: str
    state: Object
    last_state: Object = field(default_factory=dict)
    restart_count: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""

    @classmethod
    def of(cls, spec: Object, reported: Object | None, waiting: str) -> ContainerState:
        """The state a container had when it was last reported, or that of one that waits for its first start."""
        if reported is None:
            return cls(spec["name"], spec["image"], {"waiting": {"reason": waiting}})
        return cls(
            name=spec["name"],
            image=spec["image"],
            state=reported.get("state") or {"waiting": {"reason": waiting}},
            last_state=reported.get("lastState", {}),
            restart_count=reported.get("restartCount", 0),
            container_id=reported.get("containerID", ""),
        )

    @property
    def exit_code(self) -> int | None:
        """The exit code when it has ended."""
        return int(self.state["terminated"]["exitCode"]) if "terminated" in self.state else None

    def lose(self, message: str) -> None:
        """Say of a container that cannot be asked any more that it ended."""
        if "terminated" not in self.state:
            began = self.state.get("running", {}).get("startedAt")
            self.state = {"terminated": {**LOST, "message": message, **({"startedAt": began} if began else {})}}
            self.ready = self.started = False

    def report(self, init: bool, sidecar: bool) -> Object:
        """Return the API's ``ContainerStatus``; an init container is ready once it has succeeded."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image if self.container_id else "",
            "containerID": self.container_id,
            "state": self.state,
            "lastState": self.last_state,
            "restartCount": self.restart_count,
            "ready": self.exit_code == 0 if init and not sidecar else self.ready,
            "started": self.started,
        }


def phase(
    init: Sequence[ContainerState], main: Sequence[ContainerState], policy: str, *, sidecars: bool, ending: bool
) -> str:
    """Return a pod's phase. Source: kubernetes ``pkg/kubelet/kubelet_pods.go``, ``getPhase``.

    Args:
        init: init containers that must succeed first (no sidecars).
        main: containers.
        policy: the pod's restart policy.
        sidecars: one of the sidecars runs.
        ending: nothing will be restarted.
    """
    if any(s.exit_code for s in init) and (policy == "Never" or ending):
        return "Failed"
    if any(s.exit_code != 0 for s in init):
        return "Failed" if ending and all(s.exit_code is not None for s in main) else "Pending"
    codes = [s.exit_code for s in main]
    if all(code is not None for code in codes):
        if sidecars:
            return "Running"
        if ending or policy == "Never":
            return "Failed" if any(codes) else "Succeeded"
        return "Succeeded" if policy == "OnFailure" and not any(codes) else "Running"
    fresh = all("waiting" in s.state and not s.last_state for s in main)
    return "Pending" if fresh else "Running"


def conditions(
    init: Sequence[ContainerState], main: Sequence[ContainerState], phase: str, sandbox: bool
) -> dict[str, tuple[bool, str, str]]:
    """Return the conditions a node reports: type to (holds, reason, message)."""
    done = phase in ("Succeeded", "Failed")
    incomplete = [s.name for s in init if s.exit_code != 0]
    unready = [s.name for s in main if not s.ready]
    initialized = (True, "", "")
    if incomplete and phase != "Succeeded":
        initialized = (
            False,
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(incomplete)}]",
        )
    ready = (True, "", "")
    if phase == "Succeeded":
        ready, initialized = (False, "PodCompleted", ""), (True, "PodCompleted", "")
    elif phase == "Failed":
        ready = (False, "PodFailed", "")
    elif unready:
        ready = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    return {
        "PodReadyToStartContainers": (sandbox and not done, "", ""),
        "Initialized": initialized,
        "ContainersReady": ready,
        "Ready": ready,
    }


def merge_conditions(old: Sequence[Object], new: dict[str, tuple[bool, str, str]], now: str) -> list[Object]:
    """Return conditions for the API; one that still holds as before keeps its transition time."""
    before = {c["type"]: c for c in old}
    result: list[Object] = []
    for kind, (holds, reason, message) in new.items():
        status = "True" if holds else "False"
        same = before.get(kind, {}).get("status") == status
        since = before[kind].get("lastTransitionTime", now) if same else now
        result.append(
            {
                "type": kind,
                "status": status,
                "reason": reason or None,
                "message": message or None,
                "lastProbeTime": None,
                "lastTransitionTime": since,
            }
        )
    return result
