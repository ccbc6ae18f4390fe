"""PID 1 of a lab: starts its daemons in order, collects what ends, and takes everything along when it ends itself.

It runs in a PID and a mount namespace of its own (``lab.lifecycle`` starts it so). When it ends, however that
happens, the kernel ends every process of the PID namespace, and with the last of them go the mount namespace and the
network namespaces mounted in it. Nothing outside has to be cleaned up but folders and cgroups.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

from lab import controlplane
from lab.daemon import Daemon
from lab.errors import LabError
from lab.group import Group
from lab.nodes.daemons import daemons as nodes
from lab.nodes.description import Description
from lab.ovn import kubeovn
from lab.ovn.daemons import daemons as ovn
from lab.ovn.node import join
from lab.paths import Paths
from lab.pki import write_private
from lab.processes import Process
from testbed.naming import host

WATCH = 0.5  # seconds between two looks at the daemons


@dataclass
class State:
    """What the supervisor tells the world, in ``paths.pid``.

    Attributes:
        pid: the supervisor as seen from outside.
        started: the kernel's start time of it, which tells it from a later process with its pid.
        namespace: its PID namespace, as in ``/proc/PID/ns/pid``.
        phase: ``starting``, ``running``, ``stopping``, ``stopped`` or ``failed``.
        detail: what it is starting, or why it failed.
        daemons: name to ``running`` or ``exited with code N``.
        ports: name to loopback port.
    """

    pid: int
    started: int
    namespace: str
    phase: str = "starting"
    detail: str = ""
    daemons: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Paths) -> State | None:
        """The last state that a supervisor of this lab wrote, or None."""
        try:
            return cls(**json.loads(paths.pid.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def process(self) -> Process:
        """The supervisor's process."""
        return Process(self.pid, self.started)

    def write(self, paths: Paths) -> None:
        """Replace the state on disk."""
        write_private(paths.pid, json.dumps(asdict(self), indent=1).encode())


def daemons(paths: Paths, description: Description) -> Iterator[tuple[Daemon, ...]]:
    """Every daemon of a lab, those together that start together; each group is asked for when those before it serve."""
    names = [host(node.name) for node in description.nodes]
    yield from ((one,) for one in controlplane.daemons(paths, names))
    controlplane.apply_crds(paths)
    yield from ((one,) for one in ovn(paths, names[0]))
    yield (kubeovn.controller(paths),)
    yield from nodes(paths, description)
    join(paths, names)
    yield (_module("lab.ovn.nodeport", "--root", str(paths.root)),)


def _module(name: str, *arguments: str) -> Daemon:
    return Daemon(name.removeprefix("lab."), (sys.executable, "-m", name, *arguments), restart=True)


def _isolate() -> Process:
    """Take this namespace's own /proc and /run/netns; return this process as seen from outside."""
    outside = Process.of(int(Path("/proc/self").readlink().name))
    if os.getpid() != 1 or outside is None:
        raise LabError("the supervisor has to be PID 1 of its own namespace: start it with `lab up`")
    Path("/run/netns").mkdir(exist_ok=True)
    for kind, target in (("proc", "/proc"), ("tmpfs", "/run/netns")):
        subprocess.run(["mount", "-t", kind, "-o", "nosuid,nodev,noexec", kind, target], check=True)
    return outside


def _fabric(paths: Paths) -> None:
    """Make the network namespace in which Open vSwitch runs."""
    subprocess.run(["ip", "netns", "add", paths.fabric], check=True)
    subprocess.run(["ip", "-n", paths.fabric, "link", "set", "lo", "up"], check=True)


def _reap(group: Group) -> None:
    """Collect orphans that ended; daemons are left to their group."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
        if group.owns(ended.si_pid):
            return  # collected by the next check
        os.waitpid(ended.si_pid, 0)


class _Stop(Exception):  # noqa: N818 - not an error
    """Somebody asked the lab to end."""


def _on_signal(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise _Stop


def main() -> int:
    """Run the lab until SIGTERM; exit 1 when it cannot be started."""
    parser = argparse.ArgumentParser(prog="python -m lab.supervisor", description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--nodes", type=Path, required=True)
    options = parser.parse_args()
    paths = Paths(options.root)
    outside = _isolate()
    state = State(
        outside.pid, outside.started, str(Path("/proc/self/ns/pid").readlink()), ports=controlplane.ports(paths)
    )
    state.write(paths)
    signal.signal(signal.SIGTERM, _on_signal)
    with Group(paths) as group:
        try:
            _fabric(paths)
            for together in daemons(paths, Description.model_validate_json(options.nodes.read_bytes())):
                state.detail = ", ".join(daemon.name for daemon in together)
                state.write(paths)
                group.start(*together)
                state.daemons |= {daemon.name: "running" for daemon in together}
            state.ports = controlplane.ports(paths)
            state.phase, state.detail = "running", ""
            state.write(paths)
            _watch(group, state, paths)
        except _Stop:
            state.phase, state.detail = "stopping", ""
            state.write(paths)
        except (LabError, OSError, subprocess.CalledProcessError) as error:
            state.phase, state.detail = "failed", str(error)
    if state.phase == "stopping":
        state.phase = "stopped"
    state.write(paths)
    return 0 if state.phase == "stopped" else 1


def _watch(group: Group, state: State, paths: Paths) -> None:
    """Keep the daemons running; write the state whenever one changes its own."""
    while True:
        seen = group.check()
        if seen != state.daemons:
            state.daemons = seen
            state.write(paths)
        _reap(group)
        time.sleep(WATCH)


if __name__ == "__main__":
    sys.exit(main())
