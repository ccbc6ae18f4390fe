"""A pod's network namespace, and what plugs NICs into it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Protocol

from lab.api import Object
from lab.ovn import ports
from lab.paths import Paths


class Network(Protocol):
    """What gives pods their NICs."""

    def attach(self, pod: Object, netns: str) -> list[str] | None:
        """Plug a pod's NICs; return the pod's addresses, one a family, or None while none are allocated."""

    def problem(self, pod: Object) -> str | None:
        """Why a pod has no addresses yet, None when nothing is wrong."""

    def detach(self, pod: Object) -> None:
        """Unplug what ``attach`` plugged."""


class NoNetwork:
    """Pods with a loopback and nothing else."""

    def attach(self, pod: Object, netns: str) -> list[str] | None:
        """Nothing to plug."""
        return ["127.0.0.1"]

    def problem(self, pod: Object) -> str | None:
        """Nothing to go wrong."""
        return None

    def detach(self, pod: Object) -> None:
        """Nothing to unplug."""


class OvnNetwork:
    """NICs as the network controller allocated them in the pod's annotations, plugged into Open vSwitch."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def attach(self, pod: Object, netns: str) -> list[str] | None:
        """Plug every NIC the pod was allocated."""
        nics = ports.nics(pod)
        if nics is None:
            return None
        ports.plug(self._paths, netns, nics)
        return [str(nics[0].address.ip)]  # a pod has one address a family: its eth0's

    def problem(self, pod: Object) -> str | None:
        """The network controller's own events about the pod say it."""
        return None

    def detach(self, pod: Object) -> None:
        """Unplug them."""
        if nics := ports.nics(pod):
            ports.unplug(self._paths, nics)


def add(netns: str) -> None:
    """Make a network namespace, with its loopback up, that may not be there yet."""
    if not Path("/run/netns", netns).exists():
        _ip("netns", "add", netns)
        _ip("-n", netns, "link", "set", "lo", "up")


def remove(netns: str) -> None:
    """Delete a network namespace that may not be there."""
    if Path("/run/netns", netns).exists():
        _ip("netns", "delete", netns)


def existing(prefix: str) -> list[str]:
    """Names of the network namespaces that start so."""
    folder = Path("/run/netns")
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(prefix)) if folder.is_dir() else []


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True, text=True)
