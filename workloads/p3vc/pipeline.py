"""Calls a function for each piece of a dataset on every core, in order and in bounded memory.

The workers are processes: the arithmetic of a batch is some sixty short NumPy calls, and threads would spend more time
handing the interpreter's lock to each other than calling. They are forked, so that tables, files and keys are there
without being sent, and they read and write for themselves: what is sent is small.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from p3vc.errors import P3VCError

S = TypeVar("S")
A = TypeVar("A")
T = TypeVar("T")
_AHEAD = 2  # shares that wait for a worker
_UNDER_WAY = 64  # tasks at most, or a share a worker: where a task is a whole batch, it is a megabyte
_WORTH_A_PROCESS = 8  # tasks
_QUIET_SECONDS = 2.0


def cores() -> int:
    """Return the number of cores given to this process: its affinity, or its control group's quota if that is less."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


class Crew(Generic[S]):
    """Workers that share something; as a context, they are gone at its end, and when this process dies.

    Args:
        shared: what every call is given first. Workers have it as it was at the first call, and what one of them
            changes in it is seen by no other.
        workers: how many; all cores given to this process when None. One works in this process, without a fork.
        tasks: how many there will be, when known: for a few more a process would start later than they are done.
    """

    def __init__(self, shared: S, workers: int | None = None, tasks: int | None = None) -> None:
        workers = workers or cores()
        if tasks is not None:
            workers = max(1, min(workers, tasks // _WORTH_A_PROCESS))
        self._shared, self._workers = shared, workers
        self._pool: ProcessPoolExecutor | None = None
        if workers > 1:
            self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _enlist, (shared,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, function: Callable[[S, int, A], T], tasks: Iterable[A], total: int) -> Iterator[T]:
        """Yield ``function(shared, number, task)`` for each task, in order; some tasks a worker are under way.

        Args:
            function: of a module, so that it can be named to a worker.
            tasks: sent to a worker, as are the results from it.
            total: number of tasks.

        Raises:
            P3VCError: a worker was killed.
            Exception: what ``function`` raised.
        """
        if self._pool is None:
            for number, task in enumerate(tasks):
                yield function(self._shared, number, task)
            return
        rest, first, waiting = iter(tasks), 0, deque[Future[list[T]]]()
        try:
            while part := list(islice(rest, self._share(first, total - first))):
                waiting.append(_submit(self._pool, function, first, part))
                first += len(part)
                if len(waiting) >= self._workers + _AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise P3VCError(
                "a worker process was killed, most often for memory: give the pod more or name fewer --workers, and "
                "run the same command again"
            ) from None

    def _share(self, sent: int, left: int) -> int:
        """Return how many tasks to send at once, for sending is slow.

        Few at first, so that what waits for the first result has something to do; and few at the end, where nobody
        should wait for another.
        """
        most = _UNDER_WAY // (self._workers + _AHEAD)
        return max(1, min(most, sent // self._workers, left // (2 * self._workers)))


def _submit(pool: ProcessPoolExecutor, *call: Any) -> Future[Any]:
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads: those are OpenBLAS's, idle from NumPy's import on, and no worker
        # calls it.
        warnings.simplefilter("ignore", DeprecationWarning)
        return pool.submit(_call, *call)


_shared: Any = None  # in a worker: what its crew shares


def _enlist(shared: object) -> None:
    """Make this process a worker: it leaves interruptions to its parent, and its parent's death ends it.

    Else a worker would outlive a killed release and keep the claim's lock.
    """
    global _shared  # noqa: PLW0603
    _shared = shared
    gc.freeze()  # a collection would touch, and so copy, every object that was there before the fork
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _call(function: Callable[[Any, int, A], T], first: int, tasks: list[A]) -> list[T]:
    return [function(_shared, number, task) for number, task in enumerate(tasks, first)]


class Progress:
    """A line on standard error for what takes seconds.

    Args:
        what: is being done.
        total: how many records there are.
    """

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._start = what, total, time.monotonic()
        self._next = self._start + _QUIET_SECONDS
        self._terminal = sys.stderr.isatty()

    def over(self, results: Iterable[T], size: int) -> Iterator[T]:
        """Pass on results that are of ``size`` records each, and say now and then how far it is."""
        for number, result in enumerate(results, 1):
            yield result
            self._show(min(number * size, self._total))
        if self._terminal and time.monotonic() - self._start > _QUIET_SECONDS:
            print(file=sys.stderr)  # noqa: T201

    def _show(self, done: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.2 if self._terminal else 5.0)
        elapsed = now - self._start
        line = f"p3vc: {self._what} {done:,} of {self._total:,} records, {100 * done // self._total} %, {elapsed:.0f} s"
        print(line, end="\r" if self._terminal else "\n", file=sys.stderr, flush=True)  # noqa: T201
