"""What an agent that was killed left behind, and how it is removed."""

from __future__ import annotations

from lab.node import cgroups, network, volumes
from lab.node.runc import Runc
from lab.paths import Paths


def remove(paths: Paths, runc: Runc) -> None:
    """Remove containers, mounts, folders, network namespaces and cgroups of this lab's pods."""
    for container in runc.names():
        runc.delete(container)
    volumes.remove(paths.pods)
    for netns in network.existing(f"kf-{paths.name}-"):
        if netns != paths.fabric:
            network.remove(netns)
    cgroups.remove(paths.cgroup)
