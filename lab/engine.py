"""Pulumi's engine, driven as a person would, with its events turned into short lines."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.events import Narrator
from lab.paths import REPOSITORY
from lab.processes import Process
from lab.progress import say
from testbed import stackfile

POLICIES = REPOSITORY / "policies"


@dataclass(frozen=True)
class Engine:
    """One stack of this project.

    Attributes:
        stack: its name.
        environment: variables added to this process's own, ``PULUMI_HOME`` among them.
        config: stack file, where it is not the project's own.
        policies: configuration of the policies beside their defaults, as ``--policy-pack-config`` takes it.
        judged: False leaves the policy pack out, to measure what it costs; nothing else ever does.
    """

    stack: str
    environment: Mapping[str, str]
    config: Path | None = None
    policies: Mapping[str, Any] | None = None
    judged: bool = True

    def init(self, cwd: Path = REPOSITORY) -> bool:
        """Create the stack in the backend unless it is there; return whether it was created."""
        listed = json.loads(self._call("stack", "ls", "--json", cwd=cwd))
        if any(entry["name"] == self.stack for entry in listed):
            return False
        self._call("stack", "init", self.stack, "--no-select", cwd=cwd)
        return True

    def unlock(self, backend: Path) -> None:
        """Break a lock left by an update that was killed.

        Raises:
            LabError: when the update still runs.
        """
        for lock in (backend / ".pulumi" / "locks").rglob("*.json"):
            if self.stack not in lock.parts:
                continue
            try:
                holder = json.loads(lock.read_text())
            except (OSError, ValueError):
                continue
            if holder.get("hostname") == socket.gethostname() and Process.of(int(holder["pid"])) is not None:
                raise LabError(
                    f"another update of stack {self.stack} is running (process {holder['pid']}): "
                    "wait for it, or end it and run `pulumi cancel`"
                )
            say(f"an earlier update of stack {self.stack} was killed: releasing its lock")
            self._call("cancel", "--yes", "--stack", self.stack)
            return

    def preview(self, *options: str) -> Narrator:
        """Preview under the policy pack, narrated."""
        return self._narrated("preview", *options)

    def up(self, *options: str) -> Narrator:
        """Preview and update under the policy pack, narrated."""
        return self._narrated("up", "--yes", *options)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs; secret ones stay hidden."""
        return dict(json.loads(self._call("stack", "output", "--json", "--stack", self.stack)))

    def _command(self, *arguments: str) -> list[str]:
        return ["setpriv", "--pdeathsig", "TERM", "--", "pulumi", "--non-interactive", "--color=never", *arguments]

    def _environment(self) -> dict[str, str]:
        given = {stackfile.ENVIRONMENT: str(self.config.resolve())} if self.config else {}
        return {**os.environ, **self.environment, **given}

    def _call(self, *arguments: str, cwd: Path = REPOSITORY) -> str:
        done = subprocess.run(
            self._command(*arguments), cwd=cwd, env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = done.stderr.strip() or done.stdout.strip()
            raise LabError(f"pulumi {' '.join(arguments[:2])} failed: {reason}")
        return done.stdout

    def _narrated(self, verb: str, *options: str) -> Narrator:
        """Run an operation and follow the engine's event log, a pipe, so that no plan reaches the disk."""
        arguments = [verb, "--stack", self.stack, *options]
        arguments += ["--policy-pack", str(POLICIES)] if self.judged else []
        arguments += ["--config-file", str(self.config)] if self.config else []
        narrator = Narrator(verb)
        # In the lab's own folder: what a killed update leaves there goes with the lab.
        with tempfile.TemporaryDirectory(dir=self.environment["PULUMI_HOME"], prefix="update-") as scratch:
            if self.policies:
                settings = Path(scratch) / "policies.json"
                settings.write_text(json.dumps(self.policies))
                arguments += ["--policy-pack-config", str(settings)]
            pipe = Path(scratch) / "events"
            os.mkfifo(pipe, 0o600)
            with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as log:
                process = subprocess.Popen(
                    self._command(*arguments, "--event-log", str(pipe)),
                    cwd=REPOSITORY,
                    # shows the flag --event-log, which is otherwise hidden
                    env={**self._environment(), "PULUMI_DEBUG_COMMANDS": "true"},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
                try:
                    for event in _events(log.fileno(), process, narrator):
                        narrator.tell(event)
                except KeyboardInterrupt:
                    process.send_signal(signal.SIGINT)  # pulumi finishes what it is doing and releases its lock
                    process.wait()
                    raise
        narrator.finish(process.returncode)
        return narrator


def _events(log: int, process: subprocess.Popen[bytes], narrator: Narrator) -> Iterator[dict[str, Any]]:
    """Yield events until the process ended and its log is drained; its own output goes to the narrator as it is."""
    assert process.stdout is not None  # noqa: S101
    output = process.stdout.fileno()
    os.set_blocking(output, False)
    rest, ended = b"", False
    while True:
        readable, _, _ = select.select([output] if ended else [log, output], [], [], 0.2)
        narrator.pulse(time.monotonic())
        if output in readable and (text := os.read(output, 65536)):
            narrator.raw += text.decode(errors="replace")
        try:
            chunk = os.read(log, 1 << 20)
        except BlockingIOError:
            chunk = b""
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
        if ended and not chunk:
            narrator.raw += (process.stdout.read() or b"").decode(errors="replace")
            if rest.strip():
                yield json.loads(rest)
            return
        ended = process.poll() is not None
        if not chunk and not ended:
            time.sleep(0.05)  # a pipe without a writer is always readable
