"""The lab's one image: empty folders on which read-only binds of this machine's own files take an image's place.

Nothing is copied or pulled: ``binds`` are mounted into every container at the place they have on the machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lab.errors import LabError
from lab.paths import REPOSITORY
from testbed.contract import MOUNT_HOME, UID

NAME = "kubeflower.local/base:lab"
WORKLOADS = REPOSITORY / "workloads"
_SHARED = REPOSITORY / "contract"  # what workloads and testbed agree on, which the environment of workloads links to
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_FILES = ("ld.so.cache", "ld.so.conf", "localtime", "mime.types", "protocols", "services", "ssl/openssl.cnf")
_PAUSE = "catatonit"  # a static program that sleeps and reaps: what holds a pod's namespaces


def binds() -> list[Path]:
    """Paths of this machine that appear, read-only, at the same place in every container.

    Raises:
        LabError: when the environment of ``workloads/`` is not installed.
    """
    if not (WORKLOADS / ".venv/bin/python").exists():
        raise LabError(f"{WORKLOADS}/.venv is not installed: run scripts/bootstrap")
    found = [path for path in map(Path, ("/usr", *_SYSTEM)) if path.is_dir() and not path.is_symlink()]
    found += [path for path in (Path("/etc/alternatives"), Path("/etc/ssl/certs")) if path.is_dir()]
    found += [path for path in _python() if not path.is_relative_to("/usr")]
    return [*found, WORKLOADS, *([_SHARED] if _SHARED.is_dir() else [])]


@cache
def _python() -> tuple[Path, ...]:
    """The installation that the workloads run on: its prefix as their environment names it, and where it is."""
    program = WORKLOADS / ".venv/bin/python"
    shown = subprocess.run([program, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, check=True)
    prefix = Path(shown.stdout.decode().strip())
    return tuple(dict.fromkeys([prefix, prefix.resolve(), program.resolve().parent.parent]))


def archive() -> bytes:
    """The image as ``docker save`` writes one, the same bytes on the same machine.

    Raises:
        LabError: when its one program is not installed.
    """
    pause = shutil.which(_PAUSE)
    if pause is None:
        raise LabError(f"missing program: {_PAUSE}; run scripts/bootstrap")
    layer = _tar(_layer(Path(pause).read_bytes()))
    path = [f"{WORKLOADS}/.venv/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": {
            "Env": [f"PATH={':'.join(path)}", "LANG=C.UTF-8"],
            "Entrypoint": ["/pause", "-P"],
            "User": f"{UID}:{UID}",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    files = {"layer.tar": layer, "config.json": _json(config), "manifest.json": _json(manifest)}
    return _tar((_file(name, content, 0o644) for name, content in files.items()))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


Entry = tuple[tarfile.TarInfo, bytes]


def _layer(pause: bytes) -> Iterator[Entry]:
    """What of a root filesystem is not bound: folders, links, a minimal ``/etc``, the program that sleeps."""
    sticky = ("tmp", "var/tmp")
    for name in ("dev", "etc", "etc/ssl", "proc", "run", "sys", "var", *sticky, MOUNT_HOME.lstrip("/")):
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name in sticky else 0o755
        yield entry, b""
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            entry = tarfile.TarInfo(path.name)
            entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
            yield entry, b""
    for name in _FILES:
        if Path("/etc", name).is_file():
            yield _file(f"etc/{name}", Path("/etc", name).read_bytes(), 0o644)
    users = (
        f"root:x:0:0:root:/root:/bin/sh\nkubeflower:x:{UID}:{UID}::{MOUNT_HOME}:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    yield _file("etc/passwd", users.encode(), 0o644)
    yield _file("etc/group", f"root:x:0:\nkubeflower:x:{UID}:\nnogroup:x:65534:\n".encode(), 0o644)
    yield _file("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n", 0o644)
    yield _file("pause", pause, 0o755)


def _file(name: str, content: bytes, mode: int) -> Entry:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    return entry, content


def _tar(entries: Iterator[Entry]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()
