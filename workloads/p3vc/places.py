"""Where a command may write: apart from the raw data, the ledger and its seeds.

Every path that a command writes to is compared with every path that it must not touch, as the file system sees them: by
real path, through links, and by identity, so that a bind mount or another spelling of a name is the same folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from p3vc.errors import BadInputError


@dataclass(frozen=True)
class Known:
    """A place as a ledger remembers it: a folder keeps its identity where it is mounted or renamed.

    Attributes:
        path: the real path.
        device: number of the file system.
        inode: of the folder or file on it.
    """

    path: str
    device: int
    inode: int

    @staticmethod
    def of(path: Path) -> Known:
        """Return what there is to know of a path.

        Raises:
            OSError: nothing is there.
        """
        real = os.path.realpath(path)
        found = os.stat(real)  # noqa: PTH116
        return Known(real, found.st_dev, found.st_ino)


def overlap(one: Path, other: Path) -> bool:
    """Whether a path is another, lies in it or holds it."""
    return _within(one, other) or _within(other, one)


def reaches(path: Path, known: Known) -> bool:
    """Whether a path is, lies in or holds a place that was known before, by another name too if it still exists."""
    return overlap(path, Path(known.path)) or any(
        _identity(part) == (known.device, known.inode) for part in _upwards(path)
    )


def _upwards(path: Path) -> tuple[Path, ...]:
    real = Path(os.path.realpath(path))
    return (real, *real.parents)


def _within(path: Path, folder: Path) -> bool:
    base = Path(os.path.realpath(folder))
    if base in _upwards(path):
        return True
    identity = _identity(base)
    return identity is not None and any(_identity(part) == identity for part in _upwards(path))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def apart(written: Mapping[str, Path], kept: Mapping[str, Path], why: str) -> None:
    """Compare paths of options.

    Args:
        written: by option, what a command writes to.
        kept: by option, what must stay as it is and unread.
        why: what would come of it.

    Raises:
        BadInputError: one of the first is one of the second, lies in it or holds it.
    """
    for option, path in written.items():
        for other, place in kept.items():
            if overlap(path, place):
                raise BadInputError(f"{option} {path}: must lie apart from {other} {place}, {why}; name another place")


def ledger_above(path: Path) -> dict[str, Path]:
    """Return the ledger that a path lies in, by the name under which a message speaks of it, if there is one."""
    found = [folder for folder in _upwards(path) if (folder / "key").is_file() and any(folder.glob("*.jsonl"))]
    return {"the ledger": found[0]} if found else {}


def report(path: Path, kept: Mapping[str, Path]) -> None:
    """Check where a record is written to: over whatever file is there.

    Raises:
        BadInputError: it is, or lies in, what must stay as it is, or it is a second name of some other file.
    """
    apart({"--termination-log": path}, kept, "which the record would be written over")
    try:
        found = path.stat()
    except OSError:
        return
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:  # a hard link into a folder of many files
        raise BadInputError(
            f"--termination-log {path}: is a file with {found.st_nlink} names, and the record would be written over "
            "each of them; name another place"
        )
