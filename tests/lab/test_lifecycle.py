"""A lab's life from outside: a second start, a kill, a stale record; each leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import lifecycle
from lab.errors import LabError
from lab.nodes.description import Description
from lab.paths import Paths
from lab.processes import Process
from lab.supervisor import State
from tests.components.rendering import spec

pytestmark = [
    pytest.mark.fabric,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root"),
]
NODES = Description.of(spec())


@pytest.fixture
def paths() -> Iterator[Paths]:
    root = Path(tempfile.mkdtemp(prefix="kf-"))
    yield Paths(root)
    lifecycle.stop(Paths(root))
    shutil.rmtree(root)


def _interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def _mounts() -> set[str]:
    return {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}


def _wait_until_gone(state: State) -> None:
    deadline = time.monotonic() + 10
    while state.process.alive and time.monotonic() < deadline:
        time.sleep(0.05)


def test_a_lab_lives_once_survives_nothing_and_leaves_nothing(paths: Paths) -> None:
    interfaces, mounts = _interfaces(), _mounts()
    assert lifecycle.start(paths, NODES) is True
    first = State.read(paths)
    assert first is not None and set(first.daemons.values()) == {"running"}
    assert _interfaces() == interfaces, "the machine's own network namespace was touched"
    assert _mounts() == mounts, "the machine's own mounts were touched"

    begun = time.monotonic()
    assert lifecycle.start(paths, NODES) is False, "a running lab was started again"
    assert State.read(paths) == first
    assert time.monotonic() - begun < 5

    with pytest.raises(LabError, match="run `lab down` first"):
        lifecycle.start(paths, NODES.model_copy(update={"images": ()}))

    state = paths.backend / ".pulumi" / "stacks" / "kubeflower" / "lab.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    os.kill(first.pid, signal.SIGKILL)
    _wait_until_gone(first)
    assert not lifecycle.running(paths)
    left = lifecycle.leftovers(paths, first)
    assert [item for item in left if not item.startswith(("file ", "cgroup "))] == []
    assert _interfaces() == interfaces
    assert _mounts() == mounts

    # The record of the killed lab is still there: it is recognised as stale, swept, and a new lab starts.
    assert State.read(paths) is not None
    assert lifecycle.start(paths, NODES) is True
    second = State.read(paths)
    assert second is not None and second.process != first.process
    assert not state.exists(), "Pulumi still believes in what the dead cluster had"

    disk = paths.on_disk("E1", "/var/lib/kubeflower/lab/e1/raw/ledger/spent")
    disk.parent.mkdir(parents=True)
    disk.write_text("0.7")
    lifecycle.stop(paths)
    assert lifecycle.leftovers(paths, second) == []
    assert disk.read_text() == "0.7", "a ledger did not outlive its lab"


def test_a_recycled_pid_is_not_taken_for_the_supervisor(paths: Paths) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        process = Process.of(stranger.pid)
        assert process is not None
        State(stranger.pid, process.started - 1, "pid:[0]", phase="running").write(paths)
        assert not lifecycle.running(paths)
        lifecycle.stop(paths)
        assert stranger.poll() is None, "a process that is not ours was ended"
    finally:
        stranger.kill()
        stranger.wait()


def test_a_daemon_that_cannot_start_is_named_with_its_log(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "etcd"
    broken.write_text('#!/bin/sh\n[ "$1" != --version ] || exec echo etcd Version: 3.6.16\necho no luck\nexit 1\n')
    broken.chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(LabError, match=r"etcd exited with code 1\nlast lines of .*etcd\.log:\nno luck"):
        lifecycle.start(paths, NODES)
    deadline = time.monotonic() + 10
    while lifecycle.running(paths) and time.monotonic() < deadline:
        time.sleep(0.1)
    state = State.read(paths)
    assert state is not None and state.phase == "failed"
    lifecycle.stop(paths)
    assert lifecycle.leftovers(paths, state) == []
