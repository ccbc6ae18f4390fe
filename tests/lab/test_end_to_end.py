"""The whole path, as a newcomer walks it: broken data, a killed update, a finished federation, and nothing left.

The tests run in the order they are written; each continues where the one before it ended.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import lifecycle
from lab.env import environment
from lab.paths import REPOSITORY, Paths
from lab.supervisor import State
from testbed import stackfile

pytestmark = [
    pytest.mark.federation,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root"),
]
SPEC = stackfile.read("lab", REPOSITORY)


@pytest.fixture(scope="module")
def paths() -> Iterator[Paths]:
    root = Path(tempfile.mkdtemp(prefix="kf-"))
    yield Paths(root)
    lifecycle.stop(Paths(root))
    shutil.rmtree(root)


def _lab(paths: Paths, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab.cli", *arguments],
        env={**os.environ, "KUBEFLOWER_LAB": str(paths.root)},
        capture_output=True,
        text=True,
        check=False,
    )


def _pulumi(paths: Paths, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Plain ``pulumi`` in the environment that ``lab env`` prints."""
    return subprocess.run(
        ["pulumi", "--non-interactive", *arguments],
        env={**os.environ, **environment(paths)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def _kubectl(paths: Paths, *arguments: str) -> Any:
    env = {**os.environ, **environment(paths)}
    done = subprocess.run(["kubectl", *arguments, "-o", "json"], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _names(paths: Paths, kind: str) -> set[str]:
    found = _kubectl(paths, "get", kind, "--all-namespaces")["items"]
    return {f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in found}


def _raw(paths: Paths) -> Path:
    return paths.on_disk("E3", f"{SPEC.storage.root}/lab/e3/raw/data/digits.npz")


def _private(paths: Paths) -> Path:
    return paths.on_disk("E3", f"{SPEC.storage.root}/lab/e3/private")


def test_broken_data_is_named_and_released_nowhere(paths: Paths) -> None:
    _raw(paths).parent.mkdir(parents=True)
    _raw(paths).write_bytes(b"not an array")
    done = _lab(paths, "up")
    assert done.returncode == 1
    assert "P3-VC Job lab-client-e3/p3vc-" in done.stderr
    assert "digits.npz" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(_private(paths).rglob("*.npz")) == [], "part of a release was left"
    (job,) = _kubectl(paths, "get", "jobs", "-n", "lab-client-e3")["items"]
    failed = next(one for one in job["status"]["conditions"] if one["type"] == "Failed")
    assert (failed["reason"], job["status"]["failed"]) == ("BackoffLimitExceeded", 1), "bad data was tried again"
    assert "lab-client-e3/supernode" not in _names(paths, "statefulsets"), "a client started without its release"


def test_an_update_killed_half_way_can_be_run_again(paths: Paths) -> None:
    _raw(paths).unlink()  # the lab puts the data set there, as for the others
    with subprocess.Popen(
        [sys.executable, "-m", "lab.cli", "up"],
        env={**os.environ, "KUBEFLOWER_LAB": str(paths.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as first:
        assert first.stdout is not None
        said = []
        for line in first.stdout:
            said.append(line)
            if "to create" in line and "bringing" in "".join(said):
                break
        else:
            pytest.fail("the update was not reached:\n" + "".join(said))
        time.sleep(5)  # into the update that follows the preview
        os.kill(first.pid, signal.SIGKILL)
    done = _lab(paths, "up")
    assert done.returncode == 0, done.stdout + done.stderr
    for client in ("e1", "e3", "e4"):
        assert f"lab-client-{client}" in done.stdout
    assert "0 of 0.7" in done.stdout  # budget left
    assert f"c2:{SPEC.server.node_port}" in done.stdout


def test_the_outputs_tell_what_was_learned_and_what_it_cost(paths: Paths) -> None:
    outputs = json.loads(_pulumi(paths, "stack", "output", "--stack", "lab", "--json").stdout)
    rounds = outputs["federation"]["rounds"]
    assert [one["round"] for one in rounds][-1] == SPEC.federation.rounds
    assert all(0 <= one["accuracy"] <= 1 for one in rounds if one.get("accuracy") is not None)
    assert rounds[-1]["loss"] < rounds[0]["loss"] or rounds[-1]["accuracy"] > rounds[0]["accuracy"]
    for client in outputs["clients"].values():
        assert client["epsilon"] == "0.7"
        assert float(client["budgetLeft"]) == 0


def test_a_second_up_changes_nothing(paths: Paths) -> None:
    jobs = _names(paths, "jobs")
    done = _lab(paths, "up")
    assert done.returncode == 0, done.stderr
    assert "nothing changed" in done.stdout
    assert _names(paths, "jobs") == jobs
    plain = _pulumi(paths, "preview", "--stack", "lab", "--expect-no-changes", "--policy-pack", "policies")
    assert plain.returncode == 0, plain.stdout + plain.stderr


def test_packets_go_where_they_are_declared_to(paths: Paths) -> None:
    done = _lab(paths, "matrix")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differences: 0" in done.stdout


def test_too_much_epsilon_is_refused_before_anything_changes(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = yaml.safe_load((REPOSITORY / "Pulumi.lab.yaml").read_text())
    document["config"]["kubeflower:privacy"].update(epsilon=0.9)
    file = tmp_path / "Pulumi.lab.yaml"
    file.write_text(yaml.safe_dump(document))
    monkeypatch.setenv(stackfile.ENVIRONMENT, str(file))
    jobs = _names(paths, "jobs")
    done = _pulumi(
        paths, "up", "--yes", "--stack", "lab", "--policy-pack", "policies", "--config-file", str(file), "--color=never"
    )
    assert done.returncode != 0
    assert "privacy-budget" in done.stdout
    assert _names(paths, "jobs") == jobs


def test_a_smaller_cap_of_the_policies_is_heeded_beside_what_is_spent(paths: Paths, tmp_path: Path) -> None:
    (file := tmp_path / "policies.yaml").write_text("privacy-budget: {budget: 0.5}")
    jobs = _names(paths, "jobs")
    done = _lab(paths, "up", "--policy-config", str(file))
    assert done.returncode == 1
    assert "0.7 of 0.5" in done.stderr
    assert _names(paths, "jobs") == jobs


def test_the_pods_can_be_looked_into(paths: Paths) -> None:
    assert "superlink-0" in _lab(paths, "status").stdout
    assert "SuperNode" in _lab(paths, "logs", "lab-client-e1/supernode-0", "-c", "supernode").stdout
    done = _lab(paths, "exec", "lab-client-e1/supernode-0", "--", "ls", "/raw")
    assert done.returncode != 0, "a client sees its raw data"


def test_down_leaves_nothing_but_disks_and_keys(paths: Paths) -> None:
    last = State.read(paths)
    ledger = sorted(p.read_bytes() for p in paths.disks.rglob("ledger/*") if p.is_file())
    done = _lab(paths, "down")
    assert done.returncode == 0, done.stderr
    assert "no process, network namespace, interface, mount, cgroup or temporary file is left" in done.stdout
    assert lifecycle.leftovers(paths, last) == []
    assert sorted(p.name for p in paths.root.iterdir()) == ["disks", "key-root", "lock"]
    assert ledger, "nothing was spent?"
    assert sorted(p.read_bytes() for p in paths.disks.rglob("ledger/*") if p.is_file()) == ledger
