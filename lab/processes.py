"""Processes known by more than their number, so that a recycled pid is never taken for ours."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process as seen from here: its pid and the kernel's start time of it (clock ticks since boot)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int, proc: Path = Path("/proc")) -> Process | None:
        """The process that has ``pid`` now, or None; a zombie counts as gone."""
        try:
            fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Process.of(self.pid) == self

    def end(self, grace: float = 20.0) -> bool:
        """Ask it to end and kill it after ``grace`` seconds; return whether it is gone."""
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
            if not self.alive:
                return True
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
            deadline = time.monotonic() + patience
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.05)
        return not self.alive
