"""Containers as runc sees them: create, start, execute, delete."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


class RuncError(Exception):
    """What runc said when it could not do what it was asked."""


def become_subreaper() -> None:
    """Make containers children of this process, so that it can wait for them and learn how they ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


class Runc:
    """The containers whose state is in one folder."""

    def __init__(self, state: Path) -> None:
        self._argv = ["runc", "--root", str(state), "--log-format", "json"]

    def create(self, name: str, bundle: Path, output: int) -> int:
        """Create a container, ready to start, and return its pid; it writes to the descriptor ``output``.

        Raises:
            RuncError: with runc's own message.
        """
        log, pid = bundle / "runc.log", bundle / "pid"
        argv = [*self._argv, "--log", str(log), "create", "--bundle", str(bundle), "--pid-file", str(pid), name]
        process = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        if process.returncode != 0:
            raise RuncError(_message(log))
        return int(pid.read_text())

    def start(self, name: str, bundle: Path) -> None:
        """Let a created container run its program.

        Raises:
            RuncError: with runc's own message.
        """
        log = bundle / "runc.log"
        argv = [*self._argv, "--log", str(log), "start", name]
        if subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
            raise RuncError(_message(log))

    def execute(self, name: str, bundle: Path, argv: list[str], timeout: float) -> tuple[int | None, str]:
        """Run a program in a running container; return its exit code (None: it took too long) and its output."""
        pid = bundle / "exec.pid"
        pid.unlink(missing_ok=True)
        command = [*self._argv, "--log", "/dev/null", "exec", "--pid-file", str(pid), name, *argv]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                output, _ = process.communicate(timeout=timeout)
                return process.returncode, output[:10240].decode(errors="replace").strip()
            except subprocess.TimeoutExpired:
                process.kill()
                with suppress(OSError, ValueError):
                    program = int(pid.read_text())
                    os.kill(program, signal.SIGKILL)
                    process.wait()
                    os.waitpid(program, 0)  # it became ours when runc ended
                return None, f"command timed out after {timeout:g} s"

    def delete(self, name: str) -> None:
        """Kill a container if it runs and remove all trace of it; one that does not exist is fine."""
        argv = [*self._argv, "--log", "/dev/null", "delete", "--force", name]
        subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def names(self) -> list[str]:
        """The containers there are, running or not."""
        argv = [*self._argv, "--log", "/dev/null", "list", "--quiet"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


def _message(log: Path) -> str:
    """The last error in a log of runc."""
    message = "runc failed without a message"
    with suppress(OSError):
        for line in log.read_text().splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                message = entry["msg"] if entry.get("level") in ("error", "fatal") else message
    return message
