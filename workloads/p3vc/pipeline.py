"""Runs a function over the batches of a source on every core, in order and in bounded memory."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from p3vc.formats import Batch, Source

T = TypeVar("T")
_QUIET_SECONDS = 2.0


def cores() -> int:
    """Return the number of cores given to this process: its affinity, or its control group's quota if that is less."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


def run(
    source: Source, size: int, work: Callable[[int, Batch], T], workers: int | None = None, what: str = "reading"
) -> Iterator[T]:
    """Yield ``work(number, batch)`` for each batch, in order.

    Threads are enough: the heavy steps are NumPy's and hashlib's, which let go of the interpreter lock. At most two
    batches more than workers are in memory.
    """
    count = workers or cores()
    progress = Progress(what, source.records)
    done = 0
    if count == 1:
        for number, batch in enumerate(source.batches(size)):
            yield work(number, batch)
            done += batch.labels.size
            progress.show(done)
    else:
        with ThreadPoolExecutor(count) as pool:
            waiting: deque[Future[T]] = deque()
            for number, batch in enumerate(source.batches(size)):
                waiting.append(pool.submit(work, number, batch))
                done += batch.labels.size
                if len(waiting) > count + 1:
                    yield waiting.popleft().result()
                    progress.show(done)
            while waiting:
                yield waiting.popleft().result()
    progress.end()


class Progress:
    """A line on standard error for what takes seconds."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._start = what, total, time.monotonic()
        self._next = self._start + _QUIET_SECONDS
        self._terminal = sys.stderr.isatty()

    def show(self, done: int) -> None:
        """Say how far it is, now and then."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.2 if self._terminal else 5.0)
        elapsed = now - self._start
        line = f"p3vc: {self._what} {done:,} of {self._total:,} records, {100 * done // self._total} %, {elapsed:.0f} s"
        print(line, end="\r" if self._terminal else "\n", file=sys.stderr, flush=True)  # noqa: T201

    def end(self) -> None:
        """Leave the line."""
        if self._terminal and time.monotonic() - self._start > _QUIET_SECONDS:
            print(file=sys.stderr)  # noqa: T201
