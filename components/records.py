"""Records of completed Jobs, read from their pods' termination messages."""

from __future__ import annotations

import json
from typing import Any

import pulumi
from pulumi_kubernetes.batch.v1 import Job
from pulumi_kubernetes.batch.v1.outputs import JobStatus

# A JSON object, as ``docs/contract.md`` has it; ``note`` alone says why there is none.
Record = dict[str, Any]

_SECONDS = 5  # an API server that is away must not stop a preview for long


class Cluster:
    """The Kubernetes API as the reader of records meets it.

    Args:
        kubeconfig: file to use; None for ``kubernetes:kubeconfig`` of the stack, ``KUBECONFIG`` or the default file.
        context: context in it; None for ``kubernetes:context`` of the stack or the current one.
    """

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        config = pulumi.Config("kubernetes")
        self._kubeconfig = kubeconfig or config.get("kubeconfig")
        self._context = context or config.get("context")
        self._away: str | None = None  # why the API cannot be asked; learned once

    def record(self, job: Job, namespace: str, name: str, container: str) -> pulumi.Output[Record | None]:
        """Return what ``container`` of the completed Job left; None while it is not complete.

        The value is read whenever the Job's status is known: after its creation, and in any later preview that
        leaves it as it is.
        """

        def read(status: JobStatus | None) -> Record | None:
            if not status or not status.succeeded:
                return None
            return self.read(namespace, name, container)

        found: pulumi.Output[Record | None] = job.status.apply(read)
        return found

    def read(self, namespace: str, job: str, container: str) -> Record:
        """Read a record; one with only ``note`` when it cannot be read."""
        if self._away:
            return {"note": self._away}
        try:
            return self._read(namespace, job, container)
        except Exception as error:  # noqa: BLE001 - an output is no reason to fail a deployment
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._away = f"the Kubernetes API cannot be asked for records: {reason[:200]}"
            return {"note": self._away}

    def _read(self, namespace: str, job: str, container: str) -> Record:
        from kubernetes import client  # noqa: PLC0415 - takes a second, and most previews read nothing

        core: Any = client.CoreV1Api(self._client())
        selector = f"batch.kubernetes.io/job-name={job}"
        pods = core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=_SECONDS).items
        done = [pod for pod in pods if pod.status.phase == "Succeeded"]
        for status in (s for pod in done for s in pod.status.container_statuses or ()):
            if status.name == container and status.state.terminated:
                return parse(status.state.terminated.message)
        return {"note": f"no completed pod of Job {namespace}/{job} is left; its record is gone with it"}

    def _client(self) -> Any:
        from kubernetes import config  # noqa: PLC0415

        loader: Any = config
        text = self._kubeconfig
        if text and text.lstrip().startswith(("{", "apiVersion")):  # as the provider takes it: a file or its content
            import yaml  # noqa: PLC0415

            return loader.new_client_from_config_dict(yaml.safe_load(text), context=self._context)
        return loader.new_client_from_config(text, context=self._context)


def parse(message: str | None) -> Record:
    """Read a termination message as a record."""
    try:
        found = json.loads(message or "")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return {"note": "the Job left no readable record"}
    return found
