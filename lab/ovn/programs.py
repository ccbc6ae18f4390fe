"""The programs of OVN and Open vSwitch: the machine's own where they are new enough, else Debian 13's beside them.

Kube-OVN 1.16 wants the column ``bfd_sessions`` of ``Logical_Router_Policy``, which Debian 12's OVN (23.03) lacks. So
apt, with lists and a cache of its own, fetches Debian 13's packages; they are unpacked into a folder of the tool cache
and run by that folder's own C library. Nothing is installed, and no service of the machine is touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache as once
from pathlib import Path

from lab.errors import LabError
from lab.paths import cache
from lab.progress import step

MACHINE = Path("/")
NEEDED = "bfd_sessions"  # a column of the northbound schema that Kube-OVN 1.16 wants
SCHEMAS = {
    "nb": "usr/share/ovn/ovn-nb.ovsschema",
    "sb": "usr/share/ovn/ovn-sb.ovsschema",
    "vswitch": "usr/share/openvswitch/vswitch.ovsschema",
}
PROGRAMS = {
    "ovsdb-server": "usr/sbin/ovsdb-server",
    "ovsdb-tool": "usr/bin/ovsdb-tool",
    "ovs-vswitchd": "usr/lib/openvswitch-switch/ovs-vswitchd",
    "ovs-vsctl": "usr/bin/ovs-vsctl",
    "ovn-northd": "usr/bin/ovn-northd",
    "ovn-controller": "usr/bin/ovn-controller",
    "ovn-nbctl": "usr/bin/ovn-nbctl",
    "ovn-sbctl": "usr/bin/ovn-sbctl",
    "ovn-trace": "usr/bin/ovn-trace",
}
# What the programs are in and what they link to, down to the C library.
PACKAGES = (
    *("ovn-central", "ovn-common", "ovn-host", "openvswitch-switch", "openvswitch-common"),
    *("libc6", "libssl3t64", "libcap-ng0", "libcap2", "libunbound8", "libevent-2.1-7t64", "libnghttp2-14"),
    *("libhogweed6t64", "libnettle8t64", "libgmp10", "libxdp1", "libbpf1", "libelf1t64", "zlib1g", "libzstd1"),
    *("libnuma1", "libudev1"),
)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCE = f"deb [signed-by={KEYRING}] http://deb.debian.org/debian trixie main\n"
WRAPPER = """#!/bin/sh
root=${{0%/*}}/..
exec "$root/{loader}" --inhibit-cache --library-path "$root/{libraries}" "$root/{program}" "$@"
"""


def _installed(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _fits(root: Path) -> bool:
    schema = root / SCHEMAS["nb"]
    return schema.exists() and NEEDED in schema.read_text()


@once
def root() -> Path:
    """The folder that the programs and schemas are in: ``/``, or one of the tool cache, filled now if need be.

    Raises:
        LabError: they have to be fetched and cannot be.
    """
    if _fits(MACHINE) and all(map(_installed, PROGRAMS)):
        return MACHINE
    digest = hashlib.sha256("\n".join((SOURCE, WRAPPER, *PACKAGES, *PROGRAMS.values())).encode()).hexdigest()[:12]
    target = cache() / "tools" / f"ovn-{digest}"
    if not target.exists():
        if missing := [name for name in ("apt-get", "dpkg") if shutil.which(name) is None]:
            raise LabError(
                f"install OVN 24.09 or newer with Open vSwitch: without {', '.join(missing)} it is not fetched"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with step("fetching Debian 13's OVN (once)"), tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = _unpack(Path(scratch))
            if not target.exists():  # another lab may have been faster
                made.rename(target)
    return target


def program(name: str) -> str:
    """The path of one of ``PROGRAMS``."""
    folder = root()
    return str(folder / "bin" / name) if folder != MACHINE else str(_installed(name))


def schema(database: str) -> Path:
    """The schema of ``nb``, ``sb`` or ``vswitch``."""
    return root() / SCHEMAS[database]


def _unpack(scratch: Path) -> Path:
    """Fetch and unpack the packages below ``scratch`` and return the folder, complete and tried."""
    debs, made = scratch / "debs", scratch / "root"
    for folder in (debs, made / "bin", scratch / "state/lists/partial", scratch / "cache/archives/partial"):
        folder.mkdir(parents=True)
    (scratch / "state/status").touch()
    (scratch / "sources.list").write_text(SOURCE)
    settings = {
        "Dir::State": scratch / "state",
        "Dir::State::status": scratch / "state/status",
        "Dir::Cache": scratch / "cache",
        "Dir::Etc::SourceList": scratch / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Acquire::Retries": 3,
        "APT::Sandbox::User": "root",  # apt's own user may not write here
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    _run("apt-get", *options, "-qq", "update", cwd=debs)
    _run("apt-get", *options, "-qq", "download", *PACKAGES, cwd=debs)
    for deb in debs.iterdir():
        _run("dpkg", "-x", str(deb), str(made), cwd=debs)
    loader = next(made.glob("usr/lib/*/ld-linux-*.so.*")).relative_to(made)
    for name, path in PROGRAMS.items():
        wrapper = made / "bin" / name
        wrapper.write_text(WRAPPER.format(loader=loader, libraries=loader.parent, program=path))
        wrapper.chmod(0o755)
        _run(str(wrapper), "--version", cwd=debs)
    if not _fits(made):
        raise LabError(f"Debian 13's OVN has no column {NEEDED}, which Kube-OVN wants")
    return made


def _run(*argv: str, cwd: Path) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        hint = " (update Debian's package debian-archive-keyring)" if "NO_PUBKEY" in done.stderr else ""
        raise LabError(f"fetching Debian 13's OVN: {argv[0]} failed{hint}:\n{done.stderr.strip()[-2000:]}")
