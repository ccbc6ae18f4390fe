"""What a lab is doing: its daemons, its nodes' pods."""

from __future__ import annotations

from lab import lifecycle
from lab.api import Api, ApiError, Unreachable
from lab.paths import Paths
from lab.report import console, table
from lab.supervisor import State


def show(paths: Paths) -> str:
    """Print the state of a lab and return its phase: ``running``, ``stopped``, ``starting`` or ``degraded``."""
    out = console()
    state = State.read(paths)
    if state is None or not lifecycle.running(paths):
        out.print(f"no lab runs in {paths.root}")
        return "stopped"
    phase = state.phase
    if phase == "running" and any(what != "running" for what in state.daemons.values()):
        phase = "degraded"
    out.print(f"lab in {paths.root}: {phase}, supervisor is process {state.pid}")
    daemons = table("Daemons", "name", "state", "loopback port", "log")
    for name, what in state.daemons.items():
        port = state.ports.get(name)
        daemons.add_row(name, what, str(port or ""), str(paths.logs / f"{name}.log"))
    out.print()
    out.print(daemons)
    if phase != "starting":
        out.print()
        _pods(paths)
    return phase


def _pods(paths: Paths) -> None:
    out, found = console(), table("Pods", "pod", "node", "phase", "ready", "address")
    try:
        pods = Api(paths).get("/api/v1/pods")["items"]
    except (ApiError, *Unreachable) as error:
        out.print(f"the API server does not answer: {error}")
        return
    for pod in pods:
        meta, spec, status = pod["metadata"], pod["spec"], pod["status"]
        ready = sum(bool(container["ready"]) for container in status.get("containerStatuses", ()))
        found.add_row(
            f"{meta['namespace']}/{meta['name']}",
            spec.get("nodeName", ""),
            status.get("phase", ""),
            f"{ready}/{len(spec['containers'])}",
            status.get("podIP", ""),
        )
    out.print(found)
