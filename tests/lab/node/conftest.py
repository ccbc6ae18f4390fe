"""One lab for the tests of this folder: the real control plane, nodes E1, C1 and M, no fabric."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import lifecycle
from lab.api import Api
from lab.paths import REPOSITORY, Paths

from .harness import NODES, Lab


@pytest.fixture(scope="session")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Paths, subprocess.Popen[bytes]]]:
    if os.geteuid() != 0 or shutil.which("runc") is None:
        pytest.skip("needs root and runc")
    paths = Paths(tmp_path_factory.mktemp("lab"))
    paths.run.mkdir()
    nodes = paths.run / "nodes.json"
    nodes.write_text(json.dumps(NODES))
    with (paths.root / "supervise.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *("unshare", "--pid", "--mount", "--fork", "--kill-child", "--propagation", "private", "--"),
                *(sys.executable, str(Path(__file__).with_name("supervise.py")), str(paths.root), str(nodes)),
            ],
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 60
        while not (paths.run / "ready").exists():
            assert process.poll() is None, (paths.root / "supervise.log").read_text()
            assert time.monotonic() < deadline, "the control plane does not start"
            time.sleep(0.05)
        yield paths, process
    finally:
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(child, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        left = lifecycle._cgroups(paths)
        with contextlib.suppress(OSError):
            lifecycle.sweep(paths)
    assert not left, f"the agent left {left}"


@pytest.fixture(scope="module")
def lab(supervised: tuple[Paths, subprocess.Popen[bytes]], request: pytest.FixtureRequest) -> Lab:
    paths, process = supervised
    api = Api(paths)
    namespace = request.module.__name__.rpartition("test_")[2].replace("_", "-")
    api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    deadline = time.monotonic() + 30
    while not api.get(f"/api/v1/namespaces/{namespace}/serviceaccounts")["items"]:
        assert time.monotonic() < deadline, "the controller manager made no default service account"
        time.sleep(0.05)
    return Lab(paths, api, namespace, process)
