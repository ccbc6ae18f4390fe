"""Containers' output: one file a container, the one before kept beside it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.paths import Paths

LIMIT = 16 << 20  # bytes of a log kept before its older part is dropped


def path(paths: Paths, namespace: str, pod: str, container: str, previous: bool = False) -> Path:
    """The log file of a container, or of its run before the present one."""
    return paths.logs / "pods" / f"{namespace}_{pod}" / f"{container}.log{'.1' if previous else ''}"


def begin(file: Path) -> int:
    """Start a new log, keeping the last one beside it, and return a descriptor to append to."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        file.replace(file.with_name(file.name + ".1"))
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def trim(file: Path, limit: int = LIMIT) -> None:
    """Keep a log beyond ``limit`` bytes as the one before; its writer goes on in the emptied file."""
    if file.stat().st_size > limit:
        file.with_name(file.name + ".1").write_bytes(file.read_bytes())
        os.truncate(file, 0)


def last_lines(file: Path, lines: int, size: int) -> str:
    """At most ``lines`` lines and ``size`` bytes of a log's end."""
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - size))
        return b"".join(stream.read().splitlines(keepends=True)[-lines:]).decode(errors="replace")


def read(file: Path, tail: int | None, follow: bool, running: Callable[[], bool]) -> Iterator[bytes]:
    """Yield a log's content, its last ``tail`` lines when given, and with ``follow`` what is added while it runs."""
    with file.open("rb") as stream:
        if tail is None:
            while chunk := stream.read(65536):
                yield chunk
        else:
            yield b"".join(deque(stream, maxlen=tail))
        while follow:
            ended = not running()  # asked before reading, so that the last words are not missed
            if chunk := stream.read(65536):
                yield chunk
            elif ended:
                return
            else:
                time.sleep(0.2)
                if stream.tell() > file.stat().st_size:
                    stream.seek(0)
