"""How long the steps before the training took, from what an API server records."""

from __future__ import annotations

from typing import Any

import pytest

from lab.errors import LabError
from lab.performance import steps


def _at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}Z"


def _job(role: str, created: int, start: int, end: int | None) -> dict[str, Any]:
    status = {"startTime": _at(start)} | ({"completionTime": _at(end)} if end is not None else {})
    return {
        "metadata": {"creationTimestamp": _at(created)},
        "spec": {"template": {"metadata": {"labels": {"kubeflower.io/role": role}}}},
        "status": status,
    }


NAMESPACES = [{"metadata": {"creationTimestamp": _at(2)}}, {"metadata": {"creationTimestamp": _at(1)}}]


def test_preparation_overlaps_and_deployment_is_the_rest() -> None:
    jobs = [_job("p3vc", 4, 5, 9), _job("p3vc", 4, 6, 12), _job("run", 20, 20, 50)]
    assert steps(NAMESPACES, jobs) == {
        "deploy": 12.0,
        "prepare data (P3-VC)": 7.0,
    }  # 19 s to the run, 7 of them overlap


@pytest.mark.parametrize("jobs", [[], [_job("p3vc", 4, 5, 9)], [_job("p3vc", 4, 5, 9), _job("run", 20, 20, None)]])
def test_an_unfinished_run_is_not_measured(jobs: list[dict[str, Any]]) -> None:
    with pytest.raises(LabError, match="no finished run"):
        steps(NAMESPACES, jobs)
