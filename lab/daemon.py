"""A long-running process of the lab, as data: the supervisor starts, watches and ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Daemon:
    """What to run and how to tell that it serves.

    Attributes:
        name: also the log file's name, ``<logs>/<name>.log``.
        argv: the command; it stays in the foreground.
        env: added to the environment.
        netns: network namespace to run in, None for the machine's own (loopback ports).
        mounts: file of the mount namespace to run in, None for the lab's own; it may be made by ``prepare``.
        ready: raises or returns False until the daemon serves; the supervisor asks until ``timeout`` seconds passed.
        prepare: run once before the start (create a database file, say).
        restart: start again when it exits; otherwise the lab reports it as failed.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    netns: str | None = None
    mounts: Path | None = None
    ready: Callable[[], bool] = lambda: True
    prepare: Callable[[], None] = lambda: None
    restart: bool = False
    timeout: float = 60.0
