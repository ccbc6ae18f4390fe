"""Control groups of the lab's containers, under version 1 or 2 of the kernel's interface."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def oom_kills(cgroup: str) -> int:
    """How often the kernel killed a process of the group for want of memory; 0 when it cannot be told."""
    below = cgroup.lstrip("/")
    for file in (_ROOT / below / "memory.events", _ROOT / "memory" / below / "memory.oom_control"):
        with suppress(OSError):
            for line in file.read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0


def share(cgroup: str, shares: int) -> None:
    """Make a group with its part of the processors when they are short, 1024 standing for one of them.

    Without it the pods together would weigh as much as any one other process of the machine. What cannot be set (no
    such controller) is left at the kernel's default.
    """
    below = cgroup.lstrip("/")
    unified = (_ROOT / "cgroup.controllers").exists()
    group = (_ROOT if unified else _ROOT / "cpu") / below
    with suppress(OSError):
        group.mkdir(parents=True, exist_ok=True)
        if unified:
            (group.parent / "cgroup.subtree_control").write_text("+cpu")
            weight = 1 + (shares - 2) * 9999 // 262142  # as runc translates shares
            (group / "cpu.weight").write_text(str(weight))
        else:
            (group / "cpu.shares").write_text(str(shares))


def swaps() -> bool:
    """Whether this machine has swap space, by which a container could get around its memory limit."""
    return len(Path("/proc/swaps").read_text().splitlines()) > 1


def remove(cgroup: str) -> None:
    """Remove a group and its subgroups from every hierarchy; processes must be gone."""
    below = cgroup.lstrip("/")
    for base in (_ROOT / below, *(h / below for h in _ROOT.iterdir() if h.is_dir())):
        if base.is_dir():
            groups = sorted((p for p in base.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True)
            for group in (*groups, base):
                with suppress(OSError):  # still busy: the next start of the agent tries again
                    group.rmdir()
