"""Progress lines with the time elapsed."""

from __future__ import annotations

import re
import sys
import time
from typing import TextIO

TICK_SECONDS = 10.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Progress:
    """Writes to ``stream`` at once; repeated waiting lines come at most every ten seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._started = time.monotonic()
        self._ticked = float("-inf")

    def say(self, text: str) -> None:
        """Write a line."""
        print(f"[{time.monotonic() - self._started:6.1f} s] {text}", file=self._stream, flush=True)

    def tick(self, text: str) -> None:
        """Write a line unless one was written in the last ten seconds."""
        now = time.monotonic()
        if now - self._ticked >= TICK_SECONDS:
            self._ticked = now
            self.say(text)

    def log(self, text: str) -> None:
        """Write the run's log, as it comes, without terminal colours."""
        for line in _COLOUR.sub("", text).splitlines():
            if line.strip():
                print(f"  | {line}", file=self._stream, flush=True)
