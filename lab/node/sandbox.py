"""What the containers of a pod share: a folder, volumes, a network namespace, a control group."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from lab.api import Api, Object
from lab.errors import LabError
from lab.node import bundle, cgroups, network
from lab.node.environment import Sources
from lab.node.errors import PodError
from lab.node.events import Outbox, Recorder
from lab.node.network import Network
from lab.node.runc import Runc
from lab.node.volumes import Volumes, remove
from lab.paths import Paths

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """What pods share: the agent's tools and the node they are on.

    Attributes:
        disk: the node's name in the configuration, which is also its disk's.
        allocatable: the node's resources, as quantities.
    """

    paths: Paths
    api: Api
    outbox: Outbox
    recorder: Recorder
    network: Network
    runc: Runc
    disk: str
    allocatable: Mapping[str, str]


class Sandbox:
    """The sandbox of one pod.

    Attributes:
        addresses: the pod's addresses, one a family; empty until they are allocated.
        ready: everything is set up.
        attached: NICs may be plugged; true as well of a pod whose agent is gone.
    """

    def __init__(self, pod: Object, node: Node) -> None:
        self.node, self.uid = node, str(pod["metadata"]["uid"])
        self.paths, self.runc, self.allocatable = node.paths, node.runc, node.allocatable
        self.sources = Sources(node.api)
        self.folder = node.paths.pods / self.uid
        self.volumes = Volumes(pod, self.folder / "volumes", node.paths, node.disk, self.sources)
        self.netns = node.paths.pod_netns(self.uid)
        self.cgroup = f"{node.paths.cgroup}/pod{self.uid}"
        self.addresses: list[str] = []
        self.ready = self.attached = False

    def set_up(self, pod: Object) -> None:
        """Make volumes and network available; may be tried again, and goes on where it failed.

        Does not set ``ready`` when the pod has no addresses yet.

        Raises:
            PodError: a volume cannot be mounted, or the pod asks for what the lab does not grant.
            LabError: the fabric did not do what it was asked.
            subprocess.CalledProcessError: the same of a system command.
        """
        for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            if pod["spec"].get(key):
                raise PodError("FailedCreatePodSandBox", f"the lab grants no pod {key}")
        cgroups.share(self.cgroup, sum(map(bundle.shares, pod["spec"]["containers"])))
        self.folder.mkdir(parents=True, exist_ok=True)
        metadata = {key: pod["metadata"][key] for key in ("namespace", "name")}
        (self.folder / "pod.json").write_text(json.dumps(metadata))  # by which `lab exec` finds it
        self.volumes.set_up(self.allocatable)
        network.add(self.netns)
        self.attached = True
        self.addresses = self.node.network.attach(pod, self.netns) or []
        self.ready = bool(self.addresses)

    def tear_down(self, pod: Object) -> None:
        """Remove all of it; containers must be gone."""
        try:
            if self.attached:
                self.node.network.detach(pod)
            network.remove(self.netns)
        except (LabError, subprocess.CalledProcessError) as error:
            log.warning("network of pod %s: %s", self.uid, error)
        remove(self.folder)
        cgroups.remove(self.cgroup)
        self.ready = False
