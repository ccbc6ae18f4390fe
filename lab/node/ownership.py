"""The pod's ``fsGroup``: how a volume becomes usable by containers that are not root."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def give_to_group(path: Path, group: int, writable: bool = True, only_on_mismatch: bool = False) -> None:
    """Give a folder and everything below it to a group, as kubelet does for ``fsGroup``.

    Files become readable (and writable) for the group, folders also searchable, and new files inherit the group.
    Symbolic links are not followed. Source: kubernetes ``pkg/volume/volume_linux.go``.

    Args:
        path: a folder or a file.
        group: the gid.
        writable: whether the group may also write.
        only_on_mismatch: leave everything as it is when ``path`` itself is already right.
    """
    if only_on_mismatch:
        found = path.stat()
        wanted = _mode(found.st_mode, writable)
        if found.st_gid == group and stat.S_IMODE(found.st_mode) == wanted:
            return
    if path.is_dir():
        for _, folders, files, descriptor in os.fwalk(path):
            for name in (*folders, *files):
                _give(name, group, writable, descriptor)
    _give(path, group, writable)  # last, so that a mismatch stays visible until all is done


def _mode(mode: int, writable: bool) -> int:
    mask = 0o660 if writable else 0o440
    if stat.S_ISDIR(mode):
        mask |= 0o110 | stat.S_ISGID
    return stat.S_IMODE(mode) | mask


def _give(path: str | Path, group: int, writable: bool, descriptor: int | None = None) -> None:
    mode = os.stat(path, dir_fd=descriptor, follow_symlinks=False).st_mode
    os.chown(path, -1, group, dir_fd=descriptor, follow_symlinks=False)
    if not stat.S_ISLNK(mode):
        os.chmod(path, _mode(mode, writable), dir_fd=descriptor)
