"""The paper's experiment 1 on a running lab: what its objects and its results say of time."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lab import disks
from lab.api import Api
from lab.errors import LabError
from lab.paths import REPOSITORY, Paths
from testbed import contract as c
from testbed.spec import Testbed

FEDERATION = REPOSITORY / "workloads" / ".venv" / "bin" / "federation"


def steps(namespaces: Sequence[Mapping[str, Any]], jobs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the seconds of each step before the training, from what the API server recorded.

    Preparation is from the start of the first P3-VC Job to the end of the last; deployment is the rest of the time from
    the first namespace to the run. Kubernetes records whole seconds.

    Raises:
        LabError: when the testbed has no finished run.
    """
    by_role: dict[str, list[Mapping[str, Any]]] = {}
    for job in jobs:
        labels = job["spec"]["template"]["metadata"].get("labels", {})
        if job.get("status", {}).get("completionTime"):
            by_role.setdefault(labels.get(c.LABEL_ROLE, ""), []).append(job)
    releases, runs = by_role.get(c.ROLE_P3VC, []), by_role.get(c.ROLE_RUN, [])
    if not (namespaces and releases and runs):
        raise LabError("no finished run to measure: bring the testbed up first, with `lab up`")
    begun = min(_time(one["metadata"]["creationTimestamp"]) for one in namespaces)
    handed = min(_time(one["metadata"]["creationTimestamp"]) for one in runs)
    first = min(_time(one["status"]["startTime"]) for one in releases)
    last = max(_time(one["status"]["completionTime"]) for one in releases)
    prepared = (last - first).total_seconds()
    return {"deploy": (handed - begun).total_seconds() - prepared, "prepare data (P3-VC)": prepared}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def page(paths: Paths, spec: Testbed, out: Path) -> None:
    """Write the page, figure and table of the lab's last run into ``out``.

    Raises:
        LabError: when there is no lab, or no finished run.
    """
    if not paths.kubeconfig.exists():
        raise LabError(f"no lab in {paths.root}: start it with `lab up`")
    api, chosen = Api(paths), f"labelSelector={c.LABEL_TESTBED}={spec.name}"
    found = steps(api.get(f"/api/v1/namespaces?{chosen}")["items"], api.get(f"/apis/batch/v1/jobs?{chosen}")["items"])
    results = disks.results(paths, spec)
    with tempfile.TemporaryDirectory(prefix="kubeflower-") as scratch:
        deploy = Path(scratch) / "deploy.json"
        deploy.write_text(json.dumps(found))
        argv = [FEDERATION, "experiments", "performance", "--results", results, "--deploy", deploy, "--out", out]
        done = subprocess.run([str(word) for word in argv], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise LabError(done.stderr.strip().removeprefix("federation: "))
