"""Stands in for kubelets where a test is about declarations: pods succeed or are ready as soon as they are placed."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from testbed import contract as c
from testbed.naming import host
from testbed.spec import Testbed

Record = Callable[[str, dict[str, str]], dict[str, Any]]  # role and annotations to the record a Job's pod leaves


class Kubelets:
    """One Ready node for each of the testbed's, and what happens to the pods placed there."""

    def __init__(self, core: Any, spec: Testbed, record: Record) -> None:
        self._core, self._spec, self._record = core, spec, record
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._work)
        self.started: list[str] = []  # namespace/pod in order

    def __enter__(self) -> Kubelets:
        for node in self._spec.nodes:
            name = host(node.name)
            self._core.create_node({"metadata": {"name": name, "labels": {c.LABEL_HOSTNAME: name}}})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(0.3):
            now = datetime.datetime.now(datetime.UTC).isoformat()
            for node in self._spec.nodes:
                room = {"cpu": str(node.cpu), "memory": f"{node.memory}Gi", "pods": "110"}
                ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "reason": "Test", "message": ""}
                body = {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}}
                self._core.patch_node_status(host(node.name), body)
            for pod in self._core.list_pod_for_all_namespaces().items:
                try:
                    self._advance(pod)
                except ApiException as error:
                    if error.status not in {404, 409}:  # gone or changed meanwhile
                        raise

    def _advance(self, pod: Any) -> None:
        name, namespace = pod.metadata.name, pod.metadata.namespace
        if pod.metadata.deletion_timestamp:
            self._core.delete_namespaced_pod(name, namespace, body=client.V1DeleteOptions(grace_period_seconds=0))
        elif pod.spec.node_name and pod.status.phase == "Pending":
            self.started.append(f"{namespace}/{name}")
            self._core.patch_namespaced_pod_status(name, namespace, {"status": self._status(pod)})

    def _status(self, pod: Any) -> dict[str, Any]:
        role, job = pod.metadata.labels[c.LABEL_ROLE], pod.spec.restart_policy == "Never"
        message = json.dumps(self._record(role, pod.metadata.annotations)) if job else None
        state = {"terminated": {"exitCode": 0, "message": message}} if job else {"running": {}}
        containers = [
            {
                "name": container.name,
                "image": "",
                "imageID": "",
                "restartCount": 0,
                "ready": not job,
                "state": state,
            }
            for container in pod.spec.containers
        ]
        conditions = [{"type": kind, "status": str(not job)} for kind in ("Ready", "ContainersReady")]
        address = pod.metadata.annotations.get("ovn.kubernetes.io/ip_address", "10.250.0.1")
        return {
            "phase": "Succeeded" if job else "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [*conditions, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": containers,
        }
