"""How far an object is on its way to being ready."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lab.plugins.kubernetes.cluster import Cluster
from lab.plugins.kubernetes.properties import Object, get
from lab.plugins.kubernetes.tokens import Kind

_PODS = Kind("v1", "Pod")
_EVENTS = Kind("v1", "Event")


@dataclass(frozen=True)
class Progress:
    """Ready, failed for good, or what is still being waited for."""

    done: bool = False
    message: str = ""
    failure: str = ""


@dataclass(frozen=True)
class View:
    """An object, and the server to ask about what belongs to it."""

    cluster: Cluster
    live: Object

    @property
    def name(self) -> str:
        """``namespace/name`` of the object."""
        namespace = get(self.live, "metadata", "namespace")
        return f"{namespace}/{self.live['metadata']['name']}" if namespace else str(self.live["metadata"]["name"])

    @property
    def current(self) -> bool:
        """Whether its controller has seen the object's latest version."""
        return int(get(self.live, "status", "observedGeneration", default=0)) >= int(
            get(self.live, "metadata", "generation", default=0)
        )

    def pods(self) -> list[Object]:
        """The pods that the object's selector picks."""
        labels = get(self.live, "spec", "selector", "matchLabels", default={})
        if not labels:
            return []
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        return self.cluster.list(_PODS, get(self.live, "metadata", "namespace"), selector)

    def warning(self) -> str:
        """The latest warning about the object itself: why its controller could not make a pod, for example."""
        failure = condition(self.live, "ReplicaFailure")
        if failure.get("status") == "True":
            return str(failure.get("message"))
        events = self.cluster.list(
            _EVENTS,
            get(self.live, "metadata", "namespace"),
            fields=f"type=Warning,involvedObject.uid={get(self.live, 'metadata', 'uid')}",
        )
        events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime")))
        return str(events[-1].get("message")) if events else ""


def condition(live: Object, kind: str) -> Object:
    """The status condition of a type, empty where there is none."""
    found: Iterable[Object] = (
        entry for entry in get(live, "status", "conditions", default=[]) if entry.get("type") == kind
    )
    return next(iter(found), {})


def holds(live: Object, kind: str) -> bool:
    """Whether a status condition is true."""
    return condition(live, kind).get("status") == "True"
