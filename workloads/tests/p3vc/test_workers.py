"""What becomes of a release whose processes are killed, interrupted, or cannot write."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from p3vc import datasets
from p3vc.errors import BadInputError, P3VCError
from p3vc.pipeline import Crew
from tests.p3vc.support import Tool

SECONDS = 30


@pytest.fixture
def big(tool: Tool) -> Tool:
    """A dataset whose release takes long enough to be met half-way."""
    datasets.synthetic(tool.data, 60_000, (3, 32, 32))
    assert tool.register()[0] == 0
    return tool


def command(tool: Tool, *more: str) -> list[str]:
    argv = [sys.executable, "-m", "p3vc.cli", "release", "--data", str(tool.data), "--ledger", str(tool.ledger)]
    return [*argv, "--out", str(tool.folder / "out"), "--claim", "a", "--epsilon", "0.7", "--workers", "2", *more]


@contextlib.contextmanager
def half_way(tool: Tool) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start a release and give it back, with its workers, once some of its output is written."""
    argv = command(tool)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        partial, deadline = tool.folder / "out" / ".images.npy.partial", time.monotonic() + SECONDS
        while not (partial.exists() and partial.stat().st_size > 1 << 20) and time.monotonic() < deadline:
            time.sleep(0.001)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        yield process, [int(child) for child in children.split()]


def errors(err: str) -> str:
    """Leave out the lines of progress, which a slow machine shows."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("p3vc: releasing "))


def unlocked(tool: Tool) -> bool:
    """Whether no process works on the claim any more, within a while: workers inherit the lock."""
    (lock,) = (tool.ledger / "locks").iterdir()
    deadline = time.monotonic() + SECONDS
    with lock.open() as file:
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            time.sleep(0.01)
    return False


def finishes(tool: Tool) -> None:
    done = subprocess.run(command(tool), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert tool.run("verify", "--release", str(tool.folder / "out"), "--claim", "a")[0] == 0
    assert tool.state()["spent"] == "0.7"
    assert not list((tool.folder / "out").glob("*.partial"))


def test_a_killed_release_leaves_no_worker_and_is_finished_with_the_same_noise(big: Tool) -> None:
    with half_way(big) as (process, workers):
        assert len(workers) == 2
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert unlocked(big)
    assert not (big.folder / "out" / "manifest.json").exists()
    assert big.state()["spent"] == "0.7"
    seen = np.frombuffer((big.folder / "out" / ".images.npy.partial").read_bytes()[128:], np.uint8)
    finishes(big)
    final = np.load(big.folder / "out" / "images.npy").ravel()[: seen.size]
    assert seen.any()
    assert (final == seen)[seen > 0].all()


def test_a_killed_worker_ends_the_release_with_one_clear_error(big: Tool) -> None:
    with half_way(big) as (process, workers):
        os.kill(workers[0], signal.SIGKILL)
        _, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, errors(err).count("\n")) == (1, 1)
        assert "a worker process was killed" in err
    assert not list((big.folder / "out").iterdir())
    finishes(big)


@pytest.mark.parametrize("everyone", [False, True])
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_release_leaves_nothing(big: Tool, which: signal.Signals, *, everyone: bool) -> None:
    """Ctrl-C reaches every process of a terminal's group, a pod's SIGTERM only the first."""
    with half_way(big) as (process, workers):
        for pid in (process.pid, *(workers if everyone else ())):
            os.kill(pid, which)
        out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (130, "")
        assert errors(err) == "p3vc: interrupted; run the same command again\n"
    assert unlocked(big)
    assert not list((big.folder / "out").iterdir())
    finishes(big)


def test_a_worker_that_cannot_write_says_why(big: Tool) -> None:
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 25, resource.RLIM_INFINITY))\n"
    code = f"{limit}from p3vc import cli; sys.exit(cli.main({command(big)[3:]!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, errors(done.stderr)) == (2, "p3vc: File too large\n")
    assert not list((big.folder / "out").iterdir())
    finishes(big)


def _odd(refused: int, number: int, task: int) -> tuple[int, int]:
    if task == refused:
        raise BadInputError(f"task {task}")
    return number, os.getpid()


def _gone(_: None, __: int, ___: int) -> None:
    os._exit(9)


def test_results_come_in_order_from_as_many_processes_as_there_are_workers() -> None:
    with Crew(-1, 3) as crew:
        for _ in range(2):  # the same workers serve again
            results = list(crew.run(_odd, range(1000), 1000))
            assert [number for number, _ in results] == list(range(1000))
            assert 1 <= len({pid for _, pid in results} - {os.getpid()}) <= 3
    with Crew(-1, 1) as crew:
        assert {pid for _, pid in crew.run(_odd, range(10), 10)} == {os.getpid()}
    with Crew(-1, 2, tasks=15) as crew:
        assert {pid for _, pid in crew.run(_odd, range(15), 15)} == {os.getpid()}


def test_tasks_are_asked_for_as_they_are_needed() -> None:
    asked = []

    def tasks() -> Iterator[int]:
        for task in range(1000):
            asked.append(task)
            yield task

    with Crew(-1, 2) as crew:
        for done, _ in enumerate(crew.run(_odd, tasks(), 1000), 1):
            assert len(asked) - done <= (64 if done > 1 else 8)  # the first result is not waited for


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_worker_raises_is_raised(workers: int) -> None:
    with pytest.raises(BadInputError, match="task 77"), Crew(77, workers) as crew:
        list(crew.run(_odd, range(1000), 1000))


def test_a_worker_that_ends_is_noticed() -> None:
    with pytest.raises(P3VCError, match="worker process was killed"), Crew(None, 2) as crew:
        list(crew.run(_gone, range(1000), 1000))
