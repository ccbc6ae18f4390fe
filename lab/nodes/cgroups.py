"""Control groups of the lab's nodes, under version 1 or 2 of the kernel's interface."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def make(cgroup: str) -> None:
    """Make a group with its parents in every hierarchy; a kubelet makes those of its pods below it.

    The topmost one, the lab's, gets as much of the processors, when they are short, as so many other processes of the
    machine as there are processors: else all pods together would weigh as much as one process.
    """
    unified = (ROOT / "cgroup.controllers").exists()
    hierarchies = [ROOT] if unified else [one for one in ROOT.iterdir() if (one / "cgroup.procs").exists()]
    for hierarchy in hierarchies:
        top, *below = Path(cgroup.lstrip("/")).parts
        group = hierarchy / top
        _one(group)
        if not unified and (group / "cpu.shares").exists():
            (group / "cpu.shares").write_text(str(1024 * (os.cpu_count() or 1)))
        elif (group / "cpu.weight").exists():
            (group / "cpu.weight").write_text(str(100 * (os.cpu_count() or 1)))
        for name in below:
            group /= name
            _one(group)


def _one(group: Path) -> None:
    controllers = group.parent / "cgroup.controllers"
    if controllers.exists():
        for name in controllers.read_text().split():
            with suppress(OSError):  # one that this machine keeps for itself
                (group.parent / "cgroup.subtree_control").write_text(f"+{name}")
    group.mkdir(exist_ok=True)
    if not controllers.exists():
        for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group of version 1, where nothing can then run
            if (group / name).exists():
                (group / name).write_text((group.parent / name).read_text())
