"""One container of a pod: started, watched, probed, ended, and started again as its restart policy says."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.api import ApiError, Object, Unreachable, timestamp
from lab.node import cgroups, logs
from lab.node.errors import PodError
from lab.node.prepare import TERMINATION_LOG, prepare
from lab.node.probes import Probes
from lab.node.runc import RuncError
from lab.node.sandbox import Sandbox
from lab.node.status import ContainerState

BACKOFF, BACKOFF_MAX, BACKOFF_RESET = 10.0, 300.0, 600.0  # seconds, kubelet's
_MESSAGE, _FALLBACK_LINES, _FALLBACK = 4096, 80, 2048  # termination message: bytes; from a log: lines, bytes
_SEARCH_AGAIN = 2.0  # seconds between looks for a ConfigMap or Secret that was missing


class Owner(Protocol):
    """The pod, as its containers see it."""

    @property
    def object(self) -> Object:
        """The pod, with the addresses it was given in its status."""

    def event(self, kind: str, reason: str, message: str, container: str | None = None) -> None:
        """Record an event about the pod."""

    def changed(self) -> None:
        """Say that a container's state is not what it was."""


@dataclass(frozen=True)
class _Ended:
    """How a run of a container ended."""

    code: int
    seconds: float


class Container:
    """A container of a pod.

    Args:
        pod: its pod.
        sandbox: what it shares with the pod's other containers.
        spec: its declaration.
        state: its state as last reported, so that restarts go on counting after the agent's own.
    """

    def __init__(self, pod: Owner, sandbox: Sandbox, spec: Object, state: ContainerState) -> None:
        self._pod, self._sandbox, self._spec, self.state = pod, sandbox, spec, state
        self.name: str = spec["name"]
        self.id = f"{sandbox.uid}_{self.name}"
        self._bundle = sandbox.folder / "containers" / self.name
        self._cgroup = f"{sandbox.cgroup}/{self.name}"
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop_at: float | None = None  # monotonic time of the SIGKILL
        init = any(c["name"] == self.name for c in pod.object["spec"].get("initContainers", []))
        self._field = f"spec.{'initContainers' if init else 'containers'}{{{self.name}}}"

    def __del__(self) -> None:
        """Close the descriptor that wakes it."""
        with suppress(OSError):
            os.close(self._wake)

    def stop(self, deadline: float) -> None:
        """End it by ``deadline`` (monotonic seconds): SIGTERM now, SIGKILL then; never start it again."""
        self._stop_at = deadline if self._stop_at is None else min(deadline, self._stop_at)
        os.eventfd_write(self._wake, 1)

    @property
    def stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stop_at is not None

    def run(self, restart: Callable[[int], bool]) -> int | None:
        """Run it until it is told to stop or ends with an exit code after which ``restart`` says no.

        Returns:
            The last exit code; None when it never ran.
        """
        delay, code = 0.0, None
        while not self.stopping:
            try:
                ended = self._run_once()
            except PodError as error:
                self._waiting(error.reason, error.message)
                self._event("Warning", "Failed", error.message)
                if error.reason == "ErrImagePull":
                    self._waiting("ImagePullBackOff", error.message)
                    delay = self._back_off(delay or BACKOFF)
                else:
                    self._pause(_SEARCH_AGAIN)
                continue
            except (ApiError, *Unreachable) as error:
                self._waiting("CreateContainerConfigError", f"the API server cannot be asked: {error}")
                self._pause(_SEARCH_AGAIN)
                continue
            code = ended.code
            if self.stopping or not restart(code):
                return code
            delay = 0.0 if ended.seconds > BACKOFF_RESET else delay
            self.state.last_state, self.state.started, self.state.ready = self.state.state, False, False
            if delay:
                message = f"back-off {delay:.0f}s restarting failed container={self.name}"
                self._waiting("CrashLoopBackOff", message)
                self._event("Warning", "BackOff", "Back-off restarting failed container " + self.name)
                delay = self._back_off(delay)
            else:
                delay = BACKOFF
            self.state.restart_count += 1
        return code

    def _back_off(self, delay: float) -> float:
        self._pause(delay)
        return min(delay * 2, BACKOFF_MAX)

    def _pause(self, seconds: float) -> None:
        if not self.stopping:
            select.select([self._wake], [], [], seconds)

    def _waiting(self, reason: str, message: str) -> None:
        self.state.state = {"waiting": {"reason": reason, "message": message}}
        self.state.ready = self.state.started = False
        self._pod.changed()

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._pod.event(kind, reason, message, self._field)

    def _run_once(self) -> _Ended:
        prepare(self._sandbox, self._pod.object, self._spec, self._bundle, self._cgroup)
        began, started_at = time.monotonic(), timestamp()
        output = logs.begin(self._log)
        pidfd = None
        try:
            pid = self._sandbox.runc.create(self.id, self._bundle, output)
            pidfd = os.pidfd_open(pid)
            self.state.container_id = f"runc://{self.id}_{self.state.restart_count}"
            self._sandbox.runc.start(self.id, self._bundle)
            self._event("Normal", "Started", f"Started container {self.name}")
            code = self._watch(pidfd, started_at)
            killed = code != 0 and cgroups.oom_kills(self._cgroup) > 0
            reason = "OOMKilled" if killed else "Completed" if code == 0 else "Error"
            message = self._termination_message(code)
        except RuncError as error:
            code, reason, message = 128, "StartError", str(error)
            self._event("Warning", "Failed", f"Error: {message}")
            if pidfd is not None:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        finally:
            os.close(output)
            if pidfd is not None:
                os.close(pidfd)
            self._sandbox.runc.delete(self.id)
        if reason == "OOMKilled":
            limit = self._spec.get("resources", {}).get("limits", {}).get("memory")
            self._event("Warning", "OOMKilling", f"Container {self.name} used more memory than its limit {limit}")
        self._terminated(code, reason, message, started_at)
        return _Ended(code, time.monotonic() - began)

    def _watch(self, pidfd: int, started_at: str) -> int:
        """Probe the running container and end it when told to; return its exit code."""
        probes = Probes(self._spec, self._execute, lambda reason, text: self._event("Warning", reason, text))
        self.state.state = {"running": {"startedAt": started_at}}
        kill_at: float | None = None
        killed = False
        poll = select.poll()
        for descriptor in (pidfd, self._wake):
            poll.register(descriptor, select.POLLIN)
        while True:
            if (probes.started, probes.ready and kill_at is None) != (self.state.started, self.state.ready):
                self.state.started, self.state.ready = probes.started, probes.ready and kill_at is None
            self._pod.changed()
            due = kill_at if kill_at is not None else probes.next_due()
            patience = None if due is None or killed else max(0.0, due - time.monotonic()) * 1000 + 1
            ready = dict(poll.poll(patience))
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if pidfd in ready:
                return _exit_code(pidfd)
            if kill_at is None:
                if not self.stopping:
                    probes.run()
                kill_at = self._asked_to_end(probes)
                if kill_at is not None:
                    self.state.ready = False
                    self._pod.changed()
                    self._say_goodbye(pidfd, kill_at)
            elif self._stop_at is not None:
                kill_at = min(kill_at, self._stop_at)
            if kill_at is not None and time.monotonic() >= kill_at and not killed:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                killed = True

    def _asked_to_end(self, probes: Probes) -> float | None:
        """When the container must be gone, if it must: it was told to stop, or a probe failed too often."""
        if self._stop_at is not None:
            self._event("Normal", "Killing", f"Stopping container {self.name}")
            return self._stop_at
        if probes.unhealthy:
            self._event("Normal", "Killing", f"Container {self.name} {probes.unhealthy}, will be restarted")
            of_pod = self._pod.object["spec"].get("terminationGracePeriodSeconds", 30)
            return time.monotonic() + (of_pod if probes.grace is None else probes.grace)
        return None

    def _say_goodbye(self, pidfd: int, deadline: float) -> None:
        hook = self._spec.get("lifecycle", {}).get("preStop", {}).get("exec")
        patience = deadline - time.monotonic()
        if hook and patience > 0:
            code, output = self._execute(hook["command"], patience)
            if code != 0:
                self._event("Warning", "FailedPreStopHook", f"preStop of {self.name}: {output or f'exit code {code}'}")
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)

    def _execute(self, argv: list[str], timeout: float) -> tuple[int | None, str]:
        return self._sandbox.runc.execute(self.id, self._bundle, argv, timeout)

    def _terminated(self, code: int, reason: str, message: str, started_at: str) -> None:
        ended: Object = {"exitCode": code, "reason": reason, "startedAt": started_at, "finishedAt": timestamp()}
        ended |= {"containerID": self.state.container_id} if self.state.container_id else {}
        ended |= {"message": message} if message else {}
        self.state.state = {"terminated": ended}
        self.state.ready = self.state.started = False
        self._pod.changed()

    def _termination_message(self, code: int) -> str:
        with suppress(OSError):
            written = logs.last_lines(self._bundle / TERMINATION_LOG, _MESSAGE, _MESSAGE)
            if written or code == 0 or self._spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
                return written
            return logs.last_lines(self._log, _FALLBACK_LINES, _FALLBACK)
        return ""

    @property
    def _log(self) -> Path:
        metadata = self._pod.object["metadata"]
        return logs.path(self._sandbox.paths, metadata["namespace"], metadata["name"], self.name)


def _exit_code(pidfd: int) -> int:
    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert result is not None  # noqa: S101 - only with WNOHANG
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status
