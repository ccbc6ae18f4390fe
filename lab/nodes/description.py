"""What a lab's nodes are, as its supervisor is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lab.paths import Paths
from testbed.naming import host
from testbed.spec import Node, Testbed


class Description(BaseModel):
    """The nodes of a testbed, and what they have to have.

    Attributes:
        nodes: as configured.
        storage: absolute path of the folder of the local volumes, on each node's disk.
        images: references that resolve to the lab's image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    nodes: tuple[Node, ...]
    storage: str
    images: tuple[str, ...]

    @classmethod
    def of(cls, spec: Testbed) -> Description:
        """The description of a testbed's nodes."""
        return cls(nodes=spec.nodes, storage=spec.storage.root, images=(spec.federation.image,))


@dataclass(frozen=True)
class Place:
    """Where one node of a lab keeps its things."""

    paths: Paths
    node: Node

    @property
    def host(self) -> str:
        """The node's name in the cluster."""
        return host(self.node.name)

    @property
    def folder(self) -> Path:
        """State and configuration of its kubelet and containerd; goes with the lab."""
        return self.paths.run / "nodes" / self.host

    @property
    def mounts(self) -> Path:
        """A link to its mount namespace."""
        return self.folder / "mounts"

    @property
    def logs(self) -> Path:
        """Its ``/var/log``."""
        return self.paths.logs / "nodes" / self.host

    @property
    def cgroup(self) -> str:
        """Parent cgroup of its pods."""
        return f"{self.paths.cgroup}/{self.host}"

    @property
    def user(self) -> str:
        """Base name of its certificate, key and kubeconfig in the lab's ``pki`` folder."""
        return f"node-{self.host}"
