"""Flower on the loopback, what a lab's federation is compared with: no TLS, no keys, no pods, no network."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from contract.files import SUMMARY
from lab.errors import LabError
from lab.paths import REPOSITORY
from testbed import commands
from testbed import contract as c

WORKLOADS = REPOSITORY / "workloads"
CONNECTION = "loopback"
PATIENCE = 120.0  # seconds for the SuperNodes to be heard from
# Whatever ends the first process ends the second, and with it every process that it started.
ENDED_TOGETHER = ("setpriv", "--pdeathsig", "KILL", "--", "unshare", "--pid", "--fork", "--kill-child", "--")


class Loopback:
    """A SuperLink and its SuperNodes, started as Flower's guide does; a context manager.

    Args:
        folder: for their files; made here.
        releases: the private volume of each client.
        cpu: millicores, which decide the threads of a training as in a pod.
        ours: with the pods' SuperNode and SuperExec in the place of Flower's.
    """

    def __init__(self, folder: Path, releases: Mapping[str, Path], cpu: int, *, ours: bool) -> None:
        self._folder, self._releases = folder, releases
        self._superlink, *self._runtimes = _free_ports(1 + len(releases))
        for name in ("home", "results"):
            (folder / name).mkdir(parents=True)
        home = str(folder / "home")
        pods = {key: value.replace(c.MOUNT_HOME, home) for key, value in commands.environment(cpu).items()}
        self._environment = {**os.environ, **pods, "PATH": f"{WORKLOADS / '.venv/bin'}:{os.environ['PATH']}"}
        connection = f'[superlink.{CONNECTION}]\naddress = "127.0.0.1:{self._superlink}"\ninsecure = true\n'
        (folder / "home" / ".flwr").mkdir()
        (folder / "home" / ".flwr" / "config.toml").write_text(connection)
        self._supernode = ["federation", "supernode"] if ours else ["flower-supernode"]
        if ours:
            program = folder / "bin" / "flower-superexec"  # what a SuperLink and a SuperNode start
            program.parent.mkdir()
            program.write_text('#!/bin/sh\nexec federation superexec "$@"\n')
            program.chmod(0o755)
            self._environment["PATH"] = f"{program.parent}:{self._environment['PATH']}"
        self._started = ExitStack()

    def __enter__(self) -> Loopback:
        with ExitStack() as stack:
            port = str(self._superlink)
            options = ["--insecure", "--disable-runtime-dependency-installation"]
            argv = ["flower-superlink", *options, "--host", "127.0.0.1", "--port", port]
            self._start(stack, "superlink", argv)
            for slot, (client, release) in enumerate(self._releases.items(), 1):
                told = f'client="{client}" slot={slot} data="{release}"'
                argv = [*self._supernode, "--insecure", "--superlink", f"127.0.0.1:{port}", "--node-config", told]
                argv += ["--host", "127.0.0.1", "--port", str(self._runtimes[slot - 1])]
                self._start(stack, client, argv)
            self._await()
            self._started = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def run(self, config: Mapping[str, str | int | float]) -> dict[str, Any]:
        """Run the app by ``flwr run`` and return its summary.

        Raises:
            LabError: when the run left none.
        """
        before = set(self._summaries())
        words = [f"{key}={json.dumps(value)}" for key, value in {**config, "results": str(self._results)}.items()]
        app = str(WORKLOADS / "federation")
        said = self._flwr("run", app, CONNECTION, "--stream", "--run-config", " ".join(words))
        made = set(self._summaries()) - before
        if len(made) != 1:
            raise LabError(f"the run on the loopback left no results:\n{said}\n{self._logs()}")
        return dict(json.loads(made.pop().read_text()))

    @property
    def _results(self) -> Path:
        return self._folder / "results"

    def _summaries(self) -> list[Path]:
        return list(self._results.glob(f"*/{SUMMARY}"))

    def _start(self, stack: ExitStack, name: str, argv: Sequence[str]) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*ENDED_TOGETHER, *argv],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        stack.callback(process.wait)
        stack.callback(process.kill)

    def _await(self) -> None:
        deadline, online = time.monotonic() + PATIENCE, 0
        while time.monotonic() < deadline:
            answer = self._flwr("supernode", "list", CONNECTION, "--format", "json")
            if answer.startswith("{"):
                online = sum(node.get("status") == "online" for node in json.loads(answer).get("nodes", []))
            if online == len(self._releases):
                return
            time.sleep(1)
        raise LabError(f"on the loopback {online} SuperNodes of {len(self._releases)} are online\n{self._logs()}")

    def _flwr(self, *arguments: str) -> str:
        done = subprocess.run(
            [*ENDED_TOGETHER, "flwr", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    def _logs(self) -> str:
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-1000:]}" for log in logs)


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on just now."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in taken]
