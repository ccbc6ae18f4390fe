"""Startup, liveness and readiness of one running container, as kubelet decides them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lab.api import Object

Execute = Callable[[list[str], float], tuple[int | None, str]]
Report = Callable[[str, str], None]
_OTHERS = ("httpGet", "tcpSocket", "grpc")


@dataclass
class _Probe:
    kind: str
    spec: Object
    due: float
    successes: int = 0
    failures: int = 0

    @property
    def passed(self) -> bool:
        return self.successes >= int(self.spec.get("successThreshold", 1))

    @property
    def failed(self) -> bool:
        return self.failures >= int(self.spec.get("failureThreshold", 3))


class Probes:
    """The probes of one run of a container.

    Args:
        container: its declaration.
        execute: runs a program in it within seconds; returns its exit code (None: too slow) and output.
        report: records a Warning event (reason, message).

    Attributes:
        started: the startup probe has passed, or there is none.
        ready: started, and the readiness probe (if any) holds.
        unhealthy: why the container must be ended, or None.
    """

    def __init__(self, container: Object, execute: Execute, report: Report) -> None:
        self._execute, self._report = execute, report
        began = time.monotonic()
        self._probes = {
            kind: _Probe(kind, spec, began + spec.get("initialDelaySeconds", 0))
            for kind in ("startup", "liveness", "readiness")
            if (spec := container.get(f"{kind}Probe"))
        }
        self.started = "startup" not in self._probes
        self.ready = self.started and "readiness" not in self._probes
        self.unhealthy: str | None = None
        self.grace: float | None = None

    def next_due(self) -> float | None:
        """When the next probe runs (monotonic seconds), or None."""
        return min((probe.due for probe in self._active()), default=None)

    def run(self) -> None:
        """Run every probe that is due and draw the conclusions."""
        for probe in self._active():
            if probe.due <= time.monotonic():
                self._run(probe)
                probe.due = time.monotonic() + probe.spec.get("periodSeconds", 10)

    def _active(self) -> list[_Probe]:
        return [p for kind, p in self._probes.items() if (kind == "startup") != self.started]

    def _run(self, probe: _Probe) -> None:
        ok, output = self._ask(probe.spec)
        probe.successes, probe.failures = (probe.successes + 1, 0) if ok else (0, probe.failures + 1)
        if not ok:
            self._report("Unhealthy", f"{probe.kind.capitalize()} probe failed: {output}")
        match probe.kind:
            case "startup" if probe.passed:
                self.started = True
                self.ready = "readiness" not in self._probes
            case "readiness":
                self.ready = (self.ready and not probe.failed) or probe.passed
            case _ if probe.failed:
                self.unhealthy = f"failed {probe.kind} probe"
                self.grace = probe.spec.get("terminationGracePeriodSeconds")

    def _ask(self, spec: Object) -> tuple[bool, str]:
        if "exec" in spec:
            code, output = self._execute(spec["exec"]["command"], spec.get("timeoutSeconds", 1))
            return code == 0, output
        kind = next((k for k in _OTHERS if k in spec), "no handler")
        return False, f"{kind} comes from the node, which a pod's own VPC does not let in: use an exec probe"
