from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from lab.failures import of

BEGUN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _container(name: str, code: int, at: str, error: str) -> dict[str, Any]:
    ended = {"exitCode": code, "finishedAt": f"2026-03-01T{at}Z", "message": json.dumps({"error": error})}
    return {"name": name, "state": {"terminated": ended}}


def _pod(phase: str, *containers: dict[str, Any], created: str = "11:59:00", role: str = "run", **more: Any) -> Any:
    meta = {
        "namespace": "lab-server",
        "name": "run-1-x",
        "creationTimestamp": f"2026-03-01T{created}Z",
        "labels": {"kubeflower.io/role": role},
        "ownerReferences": [{"kind": "Job", "name": "run-1"}],
    }
    return {"metadata": meta, "status": {"phase": phase, "containerStatuses": list(containers), **more}}


def test_a_failure_of_this_update_is_told_in_its_own_words() -> None:
    assert of([_pod("Failed", _container("run", 1, "12:00:00", "diverged"))], BEGUN) == [
        "Job lab-server/run-1: container run ended with code 1: diverged"
    ]


def test_a_failure_of_an_earlier_update_is_not_told_again() -> None:
    assert of([_pod("Failed", _container("run", 1, "11:59:59", "diverged"))], BEGUN) == []
    first: dict[str, Any] = {"initContainerStatuses": [_container("register", 2, "11:59:59", "no data")]}
    assert of([_pod("Failed", {"name": "release", "state": {"waiting": {}}}, **first)], BEGUN) == []


def test_a_failed_init_container_of_the_p3vc_is_told() -> None:
    first: dict[str, Any] = {"initContainerStatuses": [_container("register", 2, "12:00:01", "no data")]}
    assert of([_pod("Failed", {"name": "release", "state": {}}, role="p3vc", **first)], BEGUN) == [
        "P3-VC Job lab-server/run-1: container register ended with code 2: no data"
    ]


def test_the_newest_pod_of_an_owner_counts() -> None:
    failed = _pod("Failed", _container("run", 1, "12:00:00", "killed"))
    done = _pod("Succeeded", _container("run", 0, "12:00:09", ""), created="12:00:05")
    assert of([done, failed], BEGUN) == []


def test_a_pod_that_still_tries_is_told_whenever_it_began() -> None:
    trying = _container("supernode", 1, "11:00:00", "no server")
    assert of([_pod("Running", {**trying, "lastState": trying["state"], "state": {"waiting": {}}})], BEGUN)
