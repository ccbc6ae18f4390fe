"""The agent: watches the pods of its nodes and gives each one a life of its own."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lab.api import Api, ApiError, Object, Unreachable
from lab.node import cgroups, heartbeat, leftovers, logs
from lab.node.events import Outbox, Recorder
from lab.node.network import Network
from lab.node.pod import Pod
from lab.node.runc import Runc, become_subreaper
from lab.node.sandbox import Node
from lab.node.server import serve_logs
from lab.paths import Paths
from testbed.naming import host
from testbed.spec import Node as Machine

log = logging.getLogger(__name__)
_ROTATE = 30.0  # seconds between looks at the sizes of logs


class Agent:
    """Every node of a lab.

    Args:
        paths: the lab's folder.
        machines: its nodes, as configured.
        network: what gives pods their NICs.
    """

    def __init__(self, paths: Paths, machines: tuple[Machine, ...], network: Network) -> None:
        self._paths, self._machines, self._network = paths, machines, network
        self._runc = Runc(paths.run / "runc")
        self._pods: dict[str, Pod] = {}
        self._latest: dict[str, Pod] = {}  # by namespace/name

    def run(self) -> None:
        """Serve until the process ends."""
        become_subreaper()
        leftovers.remove(self._paths, self._runc)
        self._paths.pods.mkdir(parents=True, exist_ok=True, mode=0o700)
        cgroups.share(self._paths.cgroup, 1024 * (os.cpu_count() or 1))
        api = Api(self._paths)
        port = serve_logs(self._paths, self.runs)
        nodes = self._nodes(api)
        beat = heartbeat.Heartbeat(api, self._machines, port)
        _insist(beat.register)
        beat.start()
        threading.Thread(target=self._rotate, name="logs", daemon=True).start()
        log.info("serving %s, logs on port %d", ", ".join(nodes), port)
        for kind, item in api.follow("/api/v1/pods"):
            self._handle(kind, item, nodes)

    def runs(self, namespace: str, pod: str, container: str) -> bool:
        """Whether a container runs now."""
        lives = next((p for p in list(self._pods.values()) if p.name == f"{namespace}/{pod}"), None)
        return lives is not None and lives.runs(container)

    def close(self) -> None:
        """End every container at once and remove what the agent made; the API server is told nothing."""
        for pod in list(self._pods.values()):
            pod.forget()
        deadline = time.monotonic() + 8  # the supervisor gives ten
        for pod in list(self._pods.values()):
            pod.join(max(0.0, deadline - time.monotonic()))
        cgroups.remove(self._paths.cgroup)

    def _nodes(self, api: Api) -> dict[str, Node]:
        statuses, events = Outbox(), Outbox()
        return {
            host(machine.name): Node(
                paths=self._paths,
                api=api,
                outbox=statuses,
                recorder=Recorder(api, events, host(machine.name)),
                network=self._network,
                runc=self._runc,
                disk=machine.name,
                allocatable=heartbeat.capacity(machine),
            )
            for machine in self._machines
        }

    def _handle(self, kind: str, item: Object, nodes: dict[str, Node]) -> None:
        if kind == "SYNC":
            present = {pod["metadata"]["uid"] for pod in item["items"]}
            for uid in set(self._pods) - present:
                self._pods.pop(uid).forget()
            for pod in item["items"]:
                self._handle("MODIFIED", pod, nodes)
            return
        uid, node = item["metadata"]["uid"], nodes.get(item["spec"].get("nodeName", ""))
        if kind == "DELETED":
            if uid in self._pods:
                self._pods.pop(uid).forget()
        elif node is not None and kind in ("ADDED", "MODIFIED"):
            if uid not in self._pods:
                name = f"{item['metadata']['namespace']}/{item['metadata']['name']}"
                self._pods[uid] = self._latest[name] = Pod(item, node, self._latest.get(name))
                self._pods[uid].start()
            self._pods[uid].update(item)

    def _rotate(self) -> None:
        while True:
            time.sleep(_ROTATE)
            for file in self._paths.logs.glob("pods/*/*.log"):
                try:
                    logs.trim(file)
                except OSError as error:
                    log.warning("%s: %s", Path(file).name, error)


def _insist(register: Callable[[], None]) -> None:
    while True:
        try:
            register()
            return
        except (ApiError, *Unreachable) as error:
            log.warning("registering the nodes: %s", error)
            time.sleep(0.5)
