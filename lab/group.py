"""Daemons that start in order, are watched, and end together with whoever started them."""

from __future__ import annotations

import os
import subprocess
import time
from types import TracebackType

from lab.daemon import Daemon
from lab.errors import LabError
from lab.paths import REPOSITORY, Paths


def _command(daemon: Daemon) -> list[str]:
    """The daemon's argv, in its network namespace, dying with its parent however that ends."""
    namespaces = [f"--net=/run/netns/{daemon.netns}"] if daemon.netns else []
    namespaces += [f"--mount={daemon.mounts}"] if daemon.mounts else []
    entering = ["nsenter", *namespaces, "--"] if namespaces else []
    return ["setpriv", "--pdeathsig", "KILL", "--", *entering, *daemon.argv]


class Group:
    """The running daemons of a lab. Not for use from several threads: a daemon dies with the thread that started it."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._running: list[tuple[Daemon, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Group:
        """Nothing runs yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started."""
        self.stop()

    def start(self, *daemons: Daemon) -> None:
        """Start daemons together and wait until each of them serves.

        Raises:
            LabError: when one exits or does not serve in time; the message ends with the last lines of its log.
        """
        for daemon in daemons:
            daemon.prepare()
            self._running.append((daemon, self._spawn(daemon)))
        for daemon, process in self._running[-len(daemons) :]:
            self._wait(daemon, process)

    def _wait(self, daemon: Daemon, process: subprocess.Popen[bytes]) -> None:
        deadline, reason = time.monotonic() + daemon.timeout, "it says that it is not ready"
        while process.poll() is None:
            try:
                if daemon.ready():
                    return
            except Exception as error:  # noqa: BLE001 - whatever a check raises means "not yet"
                reason = f"{type(error).__name__}: {error}"
            if time.monotonic() > deadline:
                raise LabError(
                    f"{daemon.name} does not serve after {daemon.timeout:.0f} s ({reason})\n{self._tail(daemon)}"
                )
            time.sleep(0.05)
        raise LabError(f"{daemon.name} exited with code {process.returncode}\n{self._tail(daemon)}")

    def check(self) -> dict[str, str]:
        """Start again what may be; return name to ``running`` or ``exited with code N``."""
        states = {}
        for i, (daemon, process) in enumerate(self._running):
            code = process.poll()
            if code is not None and daemon.restart:
                self._running[i] = (daemon, self._spawn(daemon))
                code = None
            states[daemon.name] = "running" if code is None else f"exited with code {code}"
        return states

    def owns(self, pid: int) -> bool:
        """Whether ``pid`` is one of the daemons, whose end ``check`` and ``stop`` collect."""
        return any(process.pid == pid for _, process in self._running)

    def stop(self, grace: float = 10.0) -> None:
        """End the daemons, last started first; each has ``grace`` seconds before it is killed."""
        while self._running:
            _, process = self._running.pop()
            process.terminate()
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, daemon: Daemon) -> subprocess.Popen[bytes]:
        self.paths.logs.mkdir(parents=True, exist_ok=True)
        with (self.paths.logs / f"{daemon.name}.log").open("ab") as log:
            return subprocess.Popen(
                _command(daemon),
                env={**os.environ, **daemon.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                start_new_session=True,
            )

    def _tail(self, daemon: Daemon, lines: int = 8) -> str:
        log = self.paths.logs / f"{daemon.name}.log"
        last = log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"last lines of {log}:", *last])
