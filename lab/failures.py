"""Why a testbed's pods failed, in the words they left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from lab.api import Api
from lab.paths import Paths
from testbed.contract import LABEL_ROLE, LABEL_TESTBED, ROLE_P3VC

EARLY = {"ContainerCreating", "PodInitializing"}  # no trouble, only not yet
AFTER = {"CrashLoopBackOff"}  # what came before says more


def failures(paths: Paths, testbed: str, since: datetime) -> list[str]:
    """One line for every failed or hindered pod of a testbed: what it belongs to and why; the newest of each owner.

    Args:
        paths: the lab's folder.
        testbed: its name.
        since: pods that had failed before are another update's.
    """
    return of(Api(paths).get(f"/api/v1/pods?labelSelector={LABEL_TESTBED}={testbed}")["items"], since)


def of(pods: list[dict[str, Any]], since: datetime) -> list[str]:
    """As ``failures``, of these pods."""
    newest: dict[str, str] = {}
    for pod in sorted(pods, key=lambda p: str(p["metadata"]["creationTimestamp"])):
        meta = pod["metadata"]
        owner = next(iter(meta.get("ownerReferences", ())), {"kind": "Pod", "name": meta["name"]})
        subject = f"{owner['kind']} {meta['namespace']}/{owner['name']}"
        if meta.get("labels", {}).get(LABEL_ROLE) == ROLE_P3VC:
            subject = f"P3-VC {subject}"
        reasons = [] if _ended(pod["status"]) < since else list(dict.fromkeys(_reasons(pod["status"])))
        if pod["status"].get("phase") == "Succeeded" or not reasons:
            newest.pop(subject, None)
        else:
            newest[subject] = f"{subject}: {'; '.join(reasons)}"
    return list(newest.values())


def _ended(status: dict[str, Any]) -> datetime:
    """When a failed pod's last container ended; the end of time for any other pod."""
    states = (one.get("state", {}).get("terminated", {}) for one in _containers(status))
    ends = [datetime.fromisoformat(state["finishedAt"]) for state in states if state.get("finishedAt")]
    return max(ends) if ends and status.get("phase") == "Failed" else datetime.max.replace(tzinfo=UTC)


def _reasons(status: dict[str, Any]) -> Iterator[str]:
    """What a pod's conditions and containers say is wrong."""
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"not scheduled: {condition.get('message', '')}"
    containers = _containers(status)
    for container in containers:
        for state in (container.get("state", {}), container.get("lastState", {})):
            ended, waiting = state.get("terminated", {}), state.get("waiting", {})
            if ended.get("exitCode"):
                yield f"container {container['name']} ended with code {ended['exitCode']}: {_words(ended)}"
                break
            if waiting.get("reason") and waiting["reason"] not in EARLY | AFTER:
                yield f"container {container['name']} waits: {waiting['reason']}: {waiting.get('message', '')}"
    if not containers and status.get("phase") == "Failed":
        yield str(status.get("message") or status.get("reason") or "failed")


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _words(ended: dict[str, Any]) -> str:
    """A container's own reason: the error of its record, or the last line it wrote."""
    message = str(ended.get("message", "")).strip()
    try:
        record = json.loads(message)
    except ValueError:
        record = None
    if isinstance(record, dict) and "error" in record:
        return str(record["error"])
    return message.splitlines()[-1] if message else str(ended.get("reason", "no reason left"))
