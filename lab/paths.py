"""Where a lab keeps its things, and what its things are called.

A lab is one folder. Everything that outlives a process is under it; everything else (processes, mounts, network
namespaces) lives inside the supervisor's PID and mount namespaces and ends with it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def cache() -> Path:
    """Folder of built tools, shared by every lab and clone: ``$KUBEFLOWER_CACHE`` or ``~/.cache/kubeflower``."""
    return Path(os.environ.get("KUBEFLOWER_CACHE") or Path.home() / ".cache" / "kubeflower")


@dataclass(frozen=True)
class Paths:
    """The folder of one lab."""

    root: Path

    @classmethod
    def default(cls) -> Paths:
        """The lab of this user: ``$KUBEFLOWER_LAB`` or ``~/.local/state/kubeflower/lab``."""
        return cls(Path(os.environ.get("KUBEFLOWER_LAB") or Path.home() / ".local/state/kubeflower/lab"))

    @property
    def name(self) -> str:
        """Six characters that tell this lab's namespaces and cgroups from another's."""
        return hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:6]

    @property
    def bin(self) -> Path:
        """Shims put on PATH by ``lab env``."""
        return self.root / "bin"

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig of the lab's API server."""
        return self.root / "kubeconfig"

    @property
    def run(self) -> Path:
        """Sockets, pid files and control-plane data; removed by ``lab down``."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One file a daemon, and ``nodes/NODE``, each node's ``/var/log``."""
        return self.root / "logs"

    @property
    def disks(self) -> Path:
        """One folder a node, its disk: raw data and ledgers live here and survive ``lab down``."""
        return self.root / "disks"

    @property
    def backend(self) -> Path:
        """Pulumi's file backend."""
        return self.root / "pulumi"

    @property
    def pid(self) -> Path:
        """The supervisor's pid and start time."""
        return self.run / "supervisor.json"

    @property
    def fabric(self) -> str:
        """Network namespace in which Open vSwitch runs and every pod's veth ends."""
        return f"kf-{self.name}-fabric"

    @property
    def cgroup(self) -> str:
        """Parent cgroup of the lab's containers."""
        return f"/kubeflower-{self.name}"

    def on_disk(self, node: str, path: str) -> Path:
        """A node's absolute ``path`` on the disk that stands for it."""
        return self.disks / node / path.lstrip("/")
