"""Sockets inside another network namespace, without a process there."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TypeVar

CLONE_NEWNET = 0x40000000
T = TypeVar("T")


class Inside:
    """Runs functions in another network namespace.

    A thread is in one namespace and a socket stays in the one it was made in, so a thread of its own enters for good.

    Args:
        netns: the namespace's file, for example ``/run/netns/NAME`` or ``/proc/PID/root/run/netns/NAME``.

    Raises:
        OSError: by the functions run, when the namespace does not exist or this is not root.
    """

    def __init__(self, netns: Path) -> None:
        self._netns = netns
        self._thread = ThreadPoolExecutor(1, "netns")
        self._entered = self._thread.submit(self._enter)

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Run a function inside."""

        def run() -> T:
            self._entered.result()
            return function()

        return self._thread.submit(run)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function inside and return its result."""
        return self.submit(function).result()

    def _enter(self) -> None:
        # Python has os.setns from 3.12 on.
        handle = os.open(self._netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter network namespace {self._netns}")
        finally:
            os.close(handle)

    def __enter__(self) -> Inside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
