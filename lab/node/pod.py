"""One pod on its node: network, volumes, init containers, containers, and its end."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable

from lab.api import ApiError, Object, Unreachable
from lab.errors import LabError
from lab.node.container import Container
from lab.node.errors import PodError
from lab.node.report import Reporter, View, addresses
from lab.node.sandbox import Node, Sandbox
from lab.node.status import ContainerState

_LOST = "the container was lost when the node agent restarted"
_RETRY, _RETRY_MAX = 1.0, 16.0  # seconds between attempts to set a pod up
_PATIENCE = 10.0  # seconds without addresses after which the pod says so

log = logging.getLogger(__name__)


class Pod:
    """A pod, in a thread of its own from its arrival until the API server has forgotten it.

    Args:
        pod: the pod object.
        node: the node it is on.
        predecessor: a pod of the same name that may not be gone yet; its network ports bear the same names.
    """

    def __init__(self, pod: Object, node: Node, predecessor: Pod | None = None) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        self.name = f"{metadata['namespace']}/{metadata['name']}"
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._node, self._pod, self._predecessor = node, pod, predecessor
        self._sandbox = Sandbox(pod, node)
        self._threads: list[threading.Thread] = []
        self._policy: str = spec.get("restartPolicy", "Always")
        self._wake = threading.Condition()
        self._end_at: float | None = None  # monotonic time by which every container is gone
        self._failure: tuple[str, str] | None = None  # reason, message of a pod that the node ends
        self._forgotten = False
        self._done = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        self._init = [self._container(c, "initContainerStatuses") for c in spec.get("initContainers", [])]
        self._main = [self._container(c, "containerStatuses") for c in spec["containers"]]
        self._sidecars = {c["name"] for c in spec.get("initContainers", []) if c.get("restartPolicy") == "Always"}
        self._reporter = Reporter(pod, node.api, node.outbox, self._view)

    def _container(self, spec: Object, group: str) -> Container:
        reported = {s["name"]: s for s in self._pod.get("status", {}).get(group, [])}
        first = "PodInitializing" if self._pod["spec"].get("initContainers") else "ContainerCreating"
        return Container(self, self._sandbox, spec, ContainerState.of(spec, reported.get(spec["name"]), first))

    # What the agent tells it.

    def start(self) -> None:
        """Begin its life."""
        self._thread.start()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end of its life."""
        self._thread.join(seconds)

    def update(self, pod: Object) -> None:
        """Take the pod as it is now; begin its end when it is being deleted."""
        with self._wake:
            self._pod = pod
            self._wake.notify_all()
        if pod["metadata"].get("deletionTimestamp"):
            self.end(pod["metadata"].get("deletionGracePeriodSeconds") or 0)

    def forget(self) -> None:
        """The API server has forgotten it: end it at once and tell nobody."""
        self._forgotten = True
        self.end(0)

    def end(self, grace: float) -> None:
        """End every container within ``grace`` seconds; sidecars after the others."""
        with self._wake:
            at = time.monotonic() + grace
            self._end_at = at if self._end_at is None else min(at, self._end_at)
            for container in self._containers(sidecars=grace == 0):
                container.stop(self._end_at)
            self._wake.notify_all()

    def runs(self, container: str) -> bool:
        """Whether one of its containers runs now."""
        return any(c.name == container and "running" in c.state.state for c in self._containers())

    # What its containers ask of it.

    @property
    def object(self) -> Object:
        """The pod, with the addresses it was given in its status."""
        status = {**self._pod.get("status", {}), **addresses(self._sandbox.addresses)}
        return {**self._pod, "status": status}

    def event(self, kind: str, reason: str, message: str, container: str | None = None) -> None:
        """Record an event about the pod."""
        self._node.recorder.record(self._pod, kind, reason, message, container)

    def changed(self) -> None:
        """Report the pod's status; wake whoever waits for a container."""
        with self._wake:
            self._wake.notify_all()
        if not self._forgotten:
            self._reporter.changed()

    # Its life.

    def _run(self) -> None:
        """Live; whatever goes wrong ends in the pod's own events and status."""
        if self._predecessor is not None:
            self._predecessor.join()
            self._predecessor = None
        finished_before = self._done
        if not self._done:
            try:
                self._adopt()
                timer = self._deadline_timer()
                self._live()
                timer.cancel()
            except Exception as error:
                log.exception("pod %s", self.name)
                self._failure = ("NodeAgentError", f"the node agent failed: {type(error).__name__}: {error}")
                self.event("Warning", "FailedSync", self._failure[1])
            cut_short = self._end_at is not None
            try:
                self._tear_down()
            except Exception:
                log.exception("what pod %s leaves is removed at the agent's next start", self.name)
            for container in self._containers() if cut_short else ():
                container.state.lose("the pod was ended before the container could tell")
            self._done = True
            self.changed()
        with self._wake:
            while not (self._forgotten or self._pod["metadata"].get("deletionTimestamp")):
                self._wake.wait()
        self._delete(report=not finished_before)

    def _containers(self, sidecars: bool = True) -> list[Container]:
        return [c for c in (*self._init, *self._main) if sidecars or c.name not in self._sidecars]

    def _adopt(self) -> None:
        """Account for containers of an agent that is gone: they ended with it; a restart policy may bring them back."""
        if not any(c.state.container_id for c in self._containers()):
            return
        whole = all(c.state.exit_code is not None for c in self._main)  # it only was not said yet
        for container in self._containers():
            if "running" in container.state.state:
                container.state.lose(_LOST)
                if self._due(container):
                    container.state.last_state = container.state.state
                    container.state.restart_count += 1
        if self._policy == "Never" and not whole:
            self._failure = ("NodeAgentRestarted", _LOST)
        if self._policy == "Never" or (whole and not any(map(self._due, self._main))):
            self._sandbox.attached = True  # by the agent that is gone
            self.end(0)

    def _deadline_timer(self) -> threading.Timer:
        seconds = self._pod["spec"].get("activeDeadlineSeconds")

        def exceed() -> None:
            self._failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            self.end(self._pod["spec"].get("terminationGracePeriodSeconds", 30))

        timer = threading.Timer(seconds or 0, exceed)
        timer.daemon = True
        if seconds:
            timer.start()
        return timer

    def _live(self) -> None:
        if not self._set_up() or not self._initialize():
            return
        threads = [self._start(c, self._restarts) for c in self._main if self._due(c)]
        for thread in threads:
            thread.join()
        end_at = self._end_at
        if end_at is None:
            end_at = time.monotonic() + self._pod["spec"].get("terminationGracePeriodSeconds", 30)
        for container in reversed(self._init):
            if container.name in self._sidecars:
                container.stop(end_at)
        for thread in self._threads:
            thread.join()

    def _due(self, container: Container) -> bool:
        """Whether it has to run: not when it ended before the agent restarted and its policy leaves it so."""
        code = container.state.exit_code
        return code is None or self._restarts(code)

    def _restarts(self, code: int) -> bool:
        return self._policy == "Always" or (self._policy == "OnFailure" and code != 0)

    def _start(self, container: Container, restart: Callable[[int], bool]) -> threading.Thread:
        thread = threading.Thread(target=container.run, args=(restart,), name=container.id, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def _wait(self, seconds: float | None) -> None:
        with self._wake:
            self._wake.wait(seconds)

    def _set_up(self) -> bool:
        """Make volumes and network available, trying until it works; False when the pod ends first."""
        self.changed()
        delay, began, told = _RETRY, time.monotonic(), False
        while self._end_at is None:
            try:
                self._sandbox.set_up(self._pod)
            except (PodError, LabError, ApiError, subprocess.CalledProcessError, *Unreachable) as error:
                reason = error.reason if isinstance(error, PodError) else "FailedCreatePodSandBox"
                detail = str(getattr(error, "stderr", None) or error)
                self.event("Warning", reason, detail)
                self._say_waiting(detail)
                self._pause(delay)
                delay = min(delay * 2, _RETRY_MAX)
                continue
            if self._sandbox.ready:
                self._say_waiting(None)
                return True
            problem = self._node.network.problem(self._pod) or "the network controller has allocated none"
            if not told and time.monotonic() - began > _PATIENCE:
                self.event("Warning", "FailedCreatePodSandBox", f"no addresses yet: {problem}")
                told = True
            self._say_waiting(f"no addresses yet: {problem}")
            self._wait(1)
        return False

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._end_at is None and (left := until - time.monotonic()) > 0:
            self._wait(left)

    def _say_waiting(self, message: str | None) -> None:
        for container in self._containers():
            waiting = container.state.state.get("waiting")
            if waiting is not None and waiting.get("message") != message:
                more = {"message": message} if message else {}
                container.state.state = {"waiting": {"reason": waiting.get("reason", "ContainerCreating"), **more}}
                self.changed()

    def _initialize(self) -> bool:
        """Run the init containers in their order; False when one failed for good or the pod ends."""
        for container in self._init:
            if self._end_at is not None:
                return False
            if container.name in self._sidecars:
                self._start(container, lambda code: True)
                while not container.state.started and self._end_at is None:
                    self._wait(1)
                continue
            container.run(lambda code: code != 0 and self._policy != "Never")
            if container.state.exit_code != 0:
                return False
        return self._end_at is None

    # Its end.

    def _tear_down(self) -> None:
        self.end(0)
        for thread in self._threads:
            thread.join()
        self._sandbox.tear_down(self._pod)

    def _delete(self, report: bool) -> None:
        """Take the pod from the API server: its last status first, then the object itself."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._sandbox.uid}}
        while not self._forgotten:
            try:
                if report:
                    self._reporter.send()
                self._node.api.delete(self._reporter.path, body)
                return
            except ApiError as error:
                if error.status not in (404, 409):
                    log.warning("pod %s: %s", self.name, error)
                    self._wait(1)
                    continue
                return
            except Unreachable:
                self._wait(1)

    def _view(self) -> View:
        return View(
            gates=[c.state for c in self._init if c.name not in self._sidecars],
            sidecars=[c.state for c in self._init if c.name in self._sidecars],
            main=[c.state for c in self._main],
            policy=self._policy,
            addresses=self._sandbox.addresses,
            sandbox=self._sandbox.ready,
            done=self._done,
            failure=self._failure,
        )
