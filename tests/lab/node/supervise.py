"""A control plane and a node agent without a fabric, for the tests: PID 1 of namespaces that vanish with it.

``unshare --pid --mount --fork --kill-child python supervise.py ROOT NODES.json``
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

from lab import controlplane
from lab.daemon import Daemon
from lab.group import Group
from lab.paths import Paths


def main() -> None:
    root, nodes = sys.argv[1:]
    paths = Paths(Path(root))
    Path("/run/netns").mkdir(exist_ok=True)
    for kind, target in (("proc", "/proc"), ("tmpfs", "/run/netns")):
        subprocess.run(["mount", "-t", kind, kind, target], check=True)
    ended, restart, outage = threading.Event(), threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGUSR1, lambda *_: restart.set())  # kill the node agent as a crash would, start another
    signal.signal(signal.SIGUSR2, lambda *_: outage.set())  # the same for the API server
    with Group(paths) as group:
        for daemon in controlplane.daemons(paths):
            group.start(replace(daemon, restart=True))
        argv = (sys.executable, "-m", "lab.node", "--root", root, "--nodes", nodes, "--no-network")
        with Group(paths) as agents:
            agents.start(Daemon("node", argv, restart=True))
            (paths.run / "ready").touch()
            while not ended.wait(0.1):
                if restart.is_set():
                    restart.clear()
                    kill(agents, "node")
                if outage.is_set():
                    outage.clear()
                    kill(group, "kube-apiserver")
                agents.check()
                group.check()


def kill(group: Group, name: str) -> None:
    for daemon, process in group._running:
        if daemon.name == name:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
