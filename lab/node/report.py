"""A pod's status on its way to the API server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.api import Api, Object, timestamp
from lab.node.events import Outbox
from lab.node.status import ContainerState, conditions, merge_conditions, phase

HOST = "127.0.0.1"  # every node of the lab is this machine


@dataclass(frozen=True)
class View:
    """What a status is made of.

    Attributes:
        gates: init containers, in their order, that are no sidecars.
        sidecars: those that are.
        main: the containers.
        policy: the pod's restart policy.
        addresses: the pod's addresses.
        sandbox: whether the sandbox stands.
        done: nothing runs and nothing will.
        failure: reason and message of a pod that the node ended.
    """

    gates: Sequence[ContainerState]
    sidecars: Sequence[ContainerState]
    main: Sequence[ContainerState]
    policy: str
    addresses: Sequence[str]
    sandbox: bool
    done: bool
    failure: tuple[str, str] | None


def addresses(own: Sequence[str]) -> Object:
    """Return the address fields of a pod's status."""
    host: Object = {"hostIP": HOST, "hostIPs": [{"ip": HOST}]}
    return host | ({"podIP": own[0], "podIPs": [{"ip": address} for address in own]} if own else {})


class Reporter:
    """Reports one pod's status: whenever it changed, once for several changes, and never the same twice.

    Args:
        pod: the pod when it arrived; its start time and conditions go on from there.
        view: what is true now.
    """

    def __init__(self, pod: Object, api: Api, outbox: Outbox, view: Callable[[], View]) -> None:
        metadata, status = pod["metadata"], pod.get("status", {})
        self.path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        self._uid, self._api, self._outbox, self._view = metadata["uid"], api, outbox, view
        self._started: str = status.get("startTime") or timestamp()
        self._conditions: list[Object] = status.get("conditions", [])
        self._reported: Object | None = None
        self._queued = threading.Event()
        self._order = [s["name"] for s in pod["spec"].get("initContainers", [])]

    def changed(self) -> None:
        """Report when the outbox comes to it."""
        if not self._queued.is_set():
            self._queued.set()
            self._outbox.put(self.send)

    def send(self) -> None:
        """Report now, if the API server does not know already."""
        self._queued.clear()  # before looking: a change from here on is another report
        status = self._status(self._view())
        if status != self._reported:
            self._api.patch(f"{self.path}/status", {"metadata": {"uid": self._uid}, "status": status})
            self._reported, self._conditions = status, status["conditions"]

    def _status(self, view: View) -> Object:
        sidecars = any("running" in state.state for state in view.sidecars)
        now = phase(view.gates, view.main, view.policy, sidecars=sidecars, ending=view.done)
        if view.failure and view.done:
            now = "Failed"
        states = conditions(view.gates, view.main, now, view.sandbox)
        reason, message = view.failure or (None, None)
        init = {s.name: s.report(init=True, sidecar=False) for s in view.gates}
        init |= {s.name: s.report(init=True, sidecar=True) for s in view.sidecars}
        return {
            **addresses(view.addresses),
            "phase": now,
            "reason": reason,
            "message": message,
            "startTime": self._started,
            "conditions": merge_conditions(self._conditions, states, timestamp()),
            "initContainerStatuses": [init[name] for name in self._order],
            "containerStatuses": [s.report(init=False, sidecar=False) for s in view.main],
        }
