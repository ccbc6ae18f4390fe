"""The processes of ClientApps, with a stand-in for what runs in them; ``test_federation`` has the whole."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor import ExecutionSpec

from federation.executor import ForkingExecutor


def describe(spec: ExecutionSpec) -> None:
    """Write what this process is where ``spec`` says, then leave a mark that a later process must not see."""
    import torch

    found = {
        "pid": os.getpid(),
        "server": os.getppid(),
        "threads of the server": len([*Path(f"/proc/{os.getppid()}/task").iterdir()]),
        "imported": sorted({"federation.training", "flwr.supernode.runtime.run_clientapp"} & set(sys.modules)),
        "cuda": torch.cuda._is_in_bad_fork(),  # the fork server has initialised it
        "seconds of CPU": time.process_time(),
        "marked": hasattr(torch, "mark"),
        "random": [random.random(), np.random.random()],
        "output": [str(Path(f"/proc/self/fd/{stream}").readlink()) for stream in (1, 2)],
        "argument": spec.runtime_api_address,
    }
    setattr(torch, "mark", True)  # noqa: B010
    path = Path(spec.token)
    path.with_suffix(".partial").write_text(json.dumps(found))
    path.with_suffix(".partial").rename(path)


def wait_for_ever(spec: ExecutionSpec) -> None:
    Path(spec.token).write_text(str(os.getpid()))
    time.sleep(600)


def spec(token: Path, **changes: Any) -> ExecutionSpec:
    values: dict[str, Any] = {
        "task_type": TaskType.CLIENT_APP,
        "runtime_api_address": "127.0.0.1:9094",
        "token": str(token),
        "insecure": True,
        "root_certificates_path": None,
        "runtime_dependency_install": False,
        "parent_pid": os.getpid(),
        "suppress_output": False,
        "task_id": 1,
    }
    return ExecutionSpec(**(values | changes))


def read(path: Path) -> str:
    """Wait until a process has written."""
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.02)
    return path.read_text()


def ends(pid: int) -> bool:
    """Wait until a process is gone."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def executor() -> Iterator[ForkingExecutor]:
    made = ForkingExecutor({TaskType.CLIENT_APP: describe})
    yield made
    made.close()


def test_each_message_has_a_fresh_fork_of_a_warm_process(executor: ForkingExecutor, tmp_path: Path) -> None:
    found = []
    for name in ("first", "second"):
        assert executor.launch(spec(tmp_path / name)).status == "accepted"
        found.append(json.loads(read(tmp_path / name)))
    first, second = found
    assert first["pid"] != second["pid"]
    assert first["server"] == second["server"] != os.getpid()
    assert not set(first["random"]) & set(second["random"])
    for one in found:
        assert one["imported"] == ["federation.training", "flwr.supernode.runtime.run_clientapp"]
        assert one["threads of the server"] == 1  # a fork copies one thread, and the locks that others hold
        assert not one["cuda"]
        assert not one["marked"]
        assert one["argument"] == "127.0.0.1:9094"
        assert one["seconds of CPU"] < 0.5  # importing PyTorch alone is more


def test_a_fork_server_that_was_killed_is_started_anew(executor: ForkingExecutor, tmp_path: Path) -> None:
    executor.launch(spec(tmp_path / "before"))
    server = json.loads(read(tmp_path / "before"))["server"]
    os.kill(server, signal.SIGKILL)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    executor.launch(spec(tmp_path / "after"))
    assert json.loads(read(tmp_path / "after"))["server"] != server


def test_other_tasks_are_refused(executor: ForkingExecutor, tmp_path: Path) -> None:
    refused = executor.launch(spec(tmp_path / "token", task_type=TaskType.AGENT_APP))
    assert refused.status == "failed"
    assert "flwr-agentapp" in str(refused.message) and "flwr-clientapp" in str(refused.message)


def test_nothing_is_started_without_the_fork_server(
    executor: ForkingExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver._forkserver, "_forkserver_address", str(tmp_path / "nobody listens here"))
    refused = executor.launch(spec(tmp_path / "token"))
    assert refused.status == "failed"
    assert "the fork server does not answer" in str(refused.message)


def test_output_is_suppressed_where_flower_asks_for_it(executor: ForkingExecutor, tmp_path: Path) -> None:
    found = []
    for name, quiet in (("aloud", False), ("quiet", True)):
        executor.launch(spec(tmp_path / name, suppress_output=quiet))
        found.append(json.loads(read(tmp_path / name))["output"])
    assert found[1] == [os.devnull, os.devnull]
    assert os.devnull not in found[0]


def test_a_client_app_that_is_killed_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flwr.supercore.log.__self__.propagate", True)
    executor = ForkingExecutor({TaskType.CLIENT_APP: wait_for_ever})
    executor.launch(spec(tmp_path / "pid"))
    pid = int(read(tmp_path / "pid"))
    executor.reconcile()
    assert executor._running, "it runs"
    os.kill(pid, signal.SIGKILL)
    assert ends(pid)
    executor.reconcile()
    assert not executor._running
    assert f"the process {pid} of an app was ended by signal 9" in caplog.text


def test_client_apps_end_with_the_superexec(tmp_path: Path) -> None:
    executor = ForkingExecutor({TaskType.CLIENT_APP: wait_for_ever})
    executor.launch(spec(tmp_path / "pid"))
    pid = int(read(tmp_path / "pid"))
    executor.close()
    assert ends(pid)
