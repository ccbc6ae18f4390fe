"""The daemons of a lab's nodes, and the namespace that the two of a node share."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lab.api import Api
from lab.controlplane import ports
from lab.daemon import Daemon
from lab.nodes import cgroups, containerd, kubelet
from lab.nodes.description import Description, Place
from lab.paths import REPOSITORY, Paths, cache
from lab.tools import tool

# What kubelet writes into the kernel's settings, and their file for a node that shows it that they are so already.
# Source: Kubernetes ``pkg/kubelet/cm/container_manager_linux.go``, ``setupKernelTunables``.
SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def places(paths: Paths, description: Description) -> list[Place]:
    """The nodes of a lab."""
    return [Place(paths, node) for node in description.nodes]


def daemons(paths: Paths, description: Description) -> Iterator[tuple[Daemon, ...]]:
    """Every node's namespace, then its containerd, then its kubelet; those of all nodes start together."""
    found = places(paths, description)
    yield tuple(
        Daemon(
            f"node-{place.host}",
            ("unshare", "--mount", "--propagation", "unchanged", "--", *_root(place, description.storage)),
            prepare=partial(_make, place),
            ready=place.mounts.exists,
        )
        for place in found
    )
    yield tuple(
        Daemon(
            f"containerd-{place.host}",
            ("containerd", f"--config={place.folder / 'containerd.toml'}"),
            mounts=place.mounts,
            ready=partial(containerd.serves, place),
            restart=True,
        )
        for place in found
    )
    for place in found:
        containerd.load(place, description.images)
    port, api, program = ports(paths, *(f"kubelet-{place.host}" for place in found)), Api(paths), tool("kubelet")
    yield tuple(
        Daemon(
            f"kubelet-{place.host}",
            kubelet.argv(place, program, port[f"kubelet-{place.host}"]),
            mounts=place.mounts,
            ready=partial(kubelet.join, api, place),
            restart=True,
        )
        for place in found
    )


def _make(place: Place) -> None:
    """Make what a node's daemons find."""
    cgroups.make(place.cgroup)
    containerd.configure(place)


def _root(place: Place, storage: str) -> list[str]:
    """Make what a node has of its own, and return the command that makes its root."""
    own = {
        Path("/var/lib"): place.folder / "lib",
        Path("/var/log"): place.logs,
        containerd.STATE: place.folder / "state",
    }
    own[Path(storage).resolve()] = place.paths.on_disk(place.node.name, storage)
    for folder in own.values():
        folder.mkdir(parents=True, exist_ok=True)
    # What the daemons need must not be hidden by what is a node's own.
    needed = (REPOSITORY, place.paths.root.resolve(), cache().resolve(), Path(sys.base_prefix).resolve())
    binds = own | {path: path for path in needed if any(path.is_relative_to(hidden) for hidden in own)}
    for name, value in SETTINGS.items():
        file = place.folder / name.replace("/", "-")
        file.write_text(f"{value}\n")
        binds[Path("/proc/sys", name)] = file
    root = place.folder / "root"
    root.mkdir()
    shown = json.dumps({str(path): str(source) for path, source in binds.items()})
    return [sys.executable, "-m", "lab.nodes.root", str(root), shown, str(place.mounts)]
