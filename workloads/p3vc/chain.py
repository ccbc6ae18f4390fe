"""An append-only file of hash-chained JSON lines that a crash cannot corrupt and an edit cannot hide in.

Each line holds its number, the SHA-256 of the line before it and one entry. An append is one write of one line, then
fsync, and only then does the writer act on it. So a last line without its newline was never acted upon: a reader
leaves it out, the next writer cuts it off. Beside the file, ``.head`` holds the number and hash of the last line,
replaced atomically after each append: a file shorter than its head has lost lines and is refused.

The chain shows accidents and edits by those who cannot rewrite it whole. It is no proof against who owns the folder;
what each release's manifest quotes of the head is a copy out of that owner's reach.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from p3vc.errors import BadInputError

GENESIS = "0" * 64
_HEAD = re.compile(rb"([0-9]{1,15}) ([0-9a-f]{64})\n?")
_RESTORE = (
    "from the newest backup. One from before the last claim forgets what was spent since: then nothing more may be "
    "released from this dataset"
)


class Chain:
    """The file at ``path``; callers hold the folder's lock around ``append``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        self.heads = [GENESIS]  # after each number of lines
        self._length = 0  # bytes of whole lines
        self._read()

    @property
    def head(self) -> str:
        """The hash of the last line."""
        return self.heads[-1]

    def _read(self) -> None:
        anchor = self.path.with_suffix(".head")
        known = anchor.read_bytes() if anchor.exists() else None  # read first: a writer moves it last
        data = self.path.read_bytes() if self.path.exists() else b""
        for number, line in enumerate(data.splitlines(keepends=True)):
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                intact = record["seq"] == number and record["prev"] == self.head
            except (ValueError, TypeError, KeyError, RecursionError):
                intact = False
            if not intact:
                raise BadInputError(
                    f"{self.path}: line {number + 1} breaks the hash chain: the ledger was edited or damaged. "
                    f"Restore it {_RESTORE}"
                )
            self.entries.append(record)
            self.heads.append(hashlib.sha256(line).hexdigest())
            self._length += len(line)
        if known is not None:
            self._compare(anchor, known)
        elif len(self.entries) > 1 and not anchor.exists():  # it appears between the first line and the second
            raise BadInputError(f"{self.path}: has lost its head {anchor.name}. Restore both {_RESTORE}")

    def _compare(self, anchor: Path, known: bytes) -> None:
        head = _HEAD.fullmatch(known)
        if head is None:
            raise BadInputError(f"{anchor}: is damaged: it is not a line's number and hash. Restore it {_RESTORE}")
        length, digest = int(head[1]), head[2].decode()
        if length >= len(self.heads) or self.heads[length] != digest:
            raise BadInputError(
                f"{self.path}: holds {len(self.entries)} lines that do not lead to its head {anchor.name} (line "
                f"{length}): lines were removed or replaced. Restore both {_RESTORE}"
            )

    def append(self, entry: dict[str, Any]) -> None:
        """Add one entry durably; when this returns it survives any crash."""
        anchor = self.path.with_suffix(".head")
        if self.entries and not anchor.exists():  # a crash came between: several lines without a head are refused
            self._anchor(anchor)
        record = {"seq": len(self.entries), "prev": self.head, **entry}
        line = json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            if new:
                hand_over(descriptor, self.path.parent)
            if os.fstat(descriptor).st_size > self._length:
                os.ftruncate(descriptor, self._length)  # a torn line
            os.lseek(descriptor, self._length, os.SEEK_SET)
            write_all(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_folder(self.path.parent)
        self.entries.append(record)
        self._length += len(line)
        self.heads.append(hashlib.sha256(line).hexdigest())
        self._anchor(anchor)

    def _anchor(self, anchor: Path) -> None:
        replace(anchor, f"{len(self.entries)} {self.head}\n".encode(), 0o640)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write everything, however short the system's writes are."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make a creation, renaming or deletion in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path, mode: int) -> int:
    """Make a file to write to, and no other that a link of this name may lead to."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    hand_over(descriptor, path.parent)
    return descriptor


def hand_over(descriptor: int, folder: Path) -> None:
    """Give what root made to the folder's owner: a pod under another user must read on what an administrator wrote."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def replace(path: Path, data: bytes, mode: int) -> None:
    """Put ``data`` at ``path`` atomically and durably."""
    beside = path.with_name(f".{path.name}.partial")
    descriptor = create(beside, mode)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(beside, path)  # noqa: PTH105
    sync_folder(path.parent)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file at ``path``; the system frees it when the process dies."""
    new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        if new:
            hand_over(descriptor, path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
