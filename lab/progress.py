"""Progress for a person: one line for every step that takes seconds, with the time it took."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STARTED = time.monotonic()
HEARTBEAT = 10.0  # seconds of silence after which a step says that it is still going


def say(text: str) -> None:
    """Print one line with the time since the command began."""
    sys.stdout.write(f"[{time.monotonic() - STARTED:6.1f}s] {text}\n")
    sys.stdout.flush()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say ``text`` when the step begins, when it is slow, and how long it took when it is done."""
    begun, done = time.monotonic(), threading.Event()

    def heartbeat() -> None:
        while not done.wait(HEARTBEAT):
            say(f"{text} … {time.monotonic() - begun:.0f} s")

    say(f"{text} …")
    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        done.set()
        thread.join()
        say(f"{text}: failed after {time.monotonic() - begun:.1f} s")
        raise
    done.set()
    thread.join()
    took = time.monotonic() - begun
    if took > 1:
        say(f"{text}: done in {took:.1f} s")
