"""``python -m lab.nodes.root FOLDER BINDS.json HOLD``: give this mount namespace a node's root, and hold it.

It shows the machine's own files, but at some paths others: the node's disk, its daemons' state, its logs. A path that
the machine does not have is made in the new root alone, so that nothing of the machine changes.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000  # MS_BIND, MS_REC, MS_PRIVATE of mount(2)
_DETACH = 2  # MNT_DETACH of umount2(2)


def main() -> None:
    """Replace the root of the mount namespace that this runs in, its own, and sleep so that others may enter it."""
    folder, binds, hold = Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
    build(folder, {Path(path): Path(source) for path, source in binds.items()})
    before = folder / ".before"
    before.mkdir()
    subprocess.run(["pivot_root", folder, before], check=True)
    os.chdir("/")
    # Made private first: what is shared, /run/netns, would else go from every namespace of the lab.
    _mount("none", Path("/.before"), flags=_PRIVATE | _RECURSIVE)
    _call("umount2", b"/.before", _DETACH)
    Path("/.before").rmdir()
    # No bind mount holds it: Linux 6.18 refuses some, by the numbers that it happened to give the namespaces.
    hold.symlink_to(f"/proc/{os.getpid()}/ns/mnt")
    os.execvp("catatonit", ["catatonit", "-P"])  # noqa: S606 - there is nothing for a shell to do


def build(root: Path, binds: Mapping[Path, Path]) -> None:
    """Make a root at ``root``, an empty folder.

    Args:
        root: where it is mounted.
        binds: absolute path in the new root to what is shown there; a path may be below another.
    """
    _mount("tmpfs", root, "tmpfs", data=b"mode=755,size=4m")
    missing = [path for path in binds if not path.exists() and not any(parent in binds for parent in path.parents)]
    _mirror(Path("/"), root, missing)
    for path in sorted(binds, key=lambda one: len(one.parts)):
        _show(binds[path], root / path.relative_to("/"))


def _mirror(folder: Path, root: Path, missing: list[Path]) -> None:
    """Show what is in a folder, one by one where something has to be added below, whole otherwise."""
    for entry in folder.iterdir():
        target = root / entry.relative_to("/")
        if entry.is_symlink():
            target.symlink_to(entry.readlink())
        elif any(path.is_relative_to(entry) for path in missing):
            target.mkdir()
            target.chmod(entry.stat().st_mode & 0o7777)
            _mirror(entry, root, missing)
        else:
            _show(entry, target)


def _show(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.touch()
    _mount(str(source), target, flags=_BIND | _RECURSIVE)


def _mount(source: str, target: Path, kind: str = "none", flags: int = 0, data: bytes = b"") -> None:
    _call("mount", source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data)


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name} {arguments}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
