"""Images of the lab: a root filesystem of read-only bind mounts of this machine, in the place of container images."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lab.node.errors import PodError
from lab.paths import REPOSITORY
from testbed.contract import MOUNT_HOME, UID

REPOSITORY_NAME = "ghcr.io/kubeflower/workloads"
WORKLOADS = REPOSITORY / "workloads"
_REFERENCE = re.compile(rf"^{re.escape(REPOSITORY_NAME)}(:[\w.-]+)?(@sha256:[0-9a-f]{{64}})?$")
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_FILES = ("ld.so.cache", "ld.so.conf", "localtime", "mime.types", "protocols", "services", "ssl/openssl.cnf")


@dataclass(frozen=True)
class Image:
    """What a container of an image starts with.

    Attributes:
        binds: paths of this machine that appear, read-only, at the same place in the container.
        links: symbolic links of the root folder, name to target.
        environment: variables the image sets.
        user: uid and gid of the image's user.
    """

    reference: str
    binds: tuple[Path, ...]
    links: dict[str, str]
    environment: dict[str, str]
    user: int = UID


def pull(reference: str, workloads: Path = WORKLOADS) -> Image:
    """Find the image of a reference.

    Raises:
        PodError: ``ErrImagePull`` when the lab has no such image or its environment is not installed.
    """
    if not _REFERENCE.match(reference):
        raise PodError(
            "ErrImagePull",
            f"the lab has no image {reference!r}: it has {REPOSITORY_NAME}, with any tag, made from workloads/",
        )
    if not (workloads / ".venv/bin/python").exists():
        raise PodError("ErrImagePull", f"{workloads}/.venv is not installed: run `uv sync` in {workloads}")
    prefixes = _python(workloads)
    system = [Path(p) for p in ("/usr", *_SYSTEM)]
    binds = [p for p in system if p.is_dir() and not p.is_symlink()]
    binds += [p for p in (Path("/etc/alternatives"), Path("/etc/ssl/certs")) if p.is_dir()]
    binds += [p for p in prefixes if not p.is_relative_to("/usr")]
    path = [f"{workloads}/.venv/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return Image(
        reference=reference,
        binds=(*binds, workloads),
        links={p.name: str(p.readlink()) for p in system if p.is_symlink()},
        environment={"PATH": ":".join(path), "LANG": "C.UTF-8"},
    )


@cache
def _python(workloads: Path) -> tuple[Path, ...]:
    """The installation the virtual environment runs on: its prefix as the environment names it, and where it is."""
    program = workloads / ".venv/bin/python"
    shown = subprocess.run([program, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, check=True)
    prefix = Path(shown.stdout.decode().strip())
    candidates = [prefix, prefix.resolve(), program.resolve().parent.parent]
    return tuple(dict.fromkeys(candidates))


def skeleton(image: Image, rootfs: Path, hostname: str, addresses: list[str], resolver: str) -> None:
    """Write what of a root filesystem is not bound: links, empty folders and a minimal ``/etc``."""
    for name in ("dev", "etc/ssl", "proc", "run", "sys", "tmp", "var/tmp", MOUNT_HOME.lstrip("/")):
        (rootfs / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (rootfs / name).chmod(0o1777)
    for name, target in image.links.items():
        (rootfs / name).symlink_to(target)
    for name in _FILES:
        if Path("/etc", name).is_file():
            shutil.copyfile(Path("/etc", name), rootfs / "etc" / name)
    primary = addresses[0] if addresses else "127.0.0.1"
    files = {
        "passwd": f"root:x:0:0:root:/root:/bin/sh\nkubeflower:x:{UID}:{UID}::{MOUNT_HOME}:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        "group": f"root:x:0:\nkubeflower:x:{UID}:\nnogroup:x:65534:\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "hostname": f"{hostname}\n",
        "hosts": f"127.0.0.1 localhost\n{primary} {hostname}\n",
        "resolv.conf": resolver,
    }
    for name, text in files.items():
        (rootfs / "etc" / name).write_text(text)
