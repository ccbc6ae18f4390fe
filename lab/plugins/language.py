# ruff: noqa: D102, N802 - the methods, their names and what they do are the protocol's
"""The ``pulumi-language-python`` stand-in: runs Python programs and policy packs for the Pulumi engine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from lab.plugins import executor
from lab.plugins.serving import engine_address, serve

_GRACE = 4.0  # seconds a stopped program has to end


def interpreter(root: str, options: dict[str, Any]) -> str:
    """The Python that runs a project: its own virtual environment where it names one that exists, else this one.

    Args:
        root: the folder of the project's ``Pulumi.yaml`` or ``PulumiPolicy.yaml``.
        options: the project's runtime options; ``virtualenv`` is a folder relative to ``root``.
    """
    virtualenv = options.get("virtualenv")
    if virtualenv:
        candidate = Path(root, virtualenv, "bin", "python")
        if candidate.exists():
            return str(candidate)
    return sys.executable


def _environment(python: str) -> dict[str, str]:
    """The environment of a program: this one, with the interpreter's virtual environment first on ``PATH``."""
    environment = dict(os.environ)
    folder = Path(python).parent
    environment["PATH"] = os.pathsep.join([str(folder), environment.get("PATH", "")])
    if (folder.parent / "pyvenv.cfg").exists():
        environment["VIRTUAL_ENV"] = str(folder.parent)
    environment["PYTHONUNBUFFERED"] = "1"
    environment.pop("PYTHONHOME", None)
    return environment


class Language(language_pb2_grpc.LanguageRuntimeServicer):
    """Serves ``pulumirpc.LanguageRuntime`` as engine 3.259 calls it."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._engine = request.engine_address or self._engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi"))

    def GetRequiredPlugins(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request: Any, context: grpc.ServicerContext) -> Any:
        # Each resource carries the version of its package, so the engine finds the plugins as they are met.
        return language_pb2.GetRequiredPackagesResponse()

    def Run(self, request: Any, context: grpc.ServicerContext) -> Any:
        python = interpreter(request.info.root_directory, dict(request.info.options))
        # -P: the folder of the executor must not shadow the program's own modules.
        command = [python, "-u", "-P", executor.__file__]
        for option, value in (
            ("project", request.project),
            ("stack", request.stack),
            ("organization", request.organization),
            ("root-directory", request.info.root_directory),
            ("monitor", request.monitor_address),
            ("engine", self._engine),
            ("pwd", request.pwd),
        ):
            if value:
                command.append(f"--{option}={value}")
        command.append(f"--parallel={request.parallel}")
        if request.dryRun:
            command.append("--dry-run")
        command += ["--", _entry_point(request), *request.args]
        environment = _environment(python)
        environment["PULUMI_CONFIG"] = json.dumps(dict(request.config))
        environment["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(list(request.configSecretKeys))
        process = self._start(command, cwd=request.info.program_directory or None, env=environment)
        with process:
            status = self._wait(process, context)
        if status in (0, executor.ALREADY_EXPLAINED):
            return language_pb2.RunResponse(bail=status != 0)
        return language_pb2.RunResponse(error=f"the program ended with status {status} before it was complete")

    def RunPlugin(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        if request.kind != "analyzer":
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"a {request.kind} plugin written in Python needs Pulumi's own pulumi-language-python",
            )
        python = interpreter(request.info.root_directory, dict(request.info.options))
        program = request.info.program_directory
        environment = _environment(python)
        environment.update(entry.split("=", 1) for entry in request.env if "=" in entry)
        process = self._start(
            [python, "-u", "-m", "pulumi.policy", *request.args, program],
            cwd=program,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        context.add_callback(lambda: _end(process))
        yield from _relay(process)
        with self._lock:
            self._running.discard(process)
        yield language_pb2.RunPluginResponse(exitcode=process.wait())

    def About(self, request: Any, context: grpc.ServicerContext) -> Any:
        python = interpreter(request.info.root_directory, dict(request.info.options))
        return language_pb2.AboutResponse(executable=python, version=sys.version.split()[0])

    def GetProgramDependencies(self, request: Any, context: grpc.ServicerContext) -> Any:
        packages = sorted(
            {(dist.metadata["Name"], dist.version) for dist in importlib.metadata.distributions()}, key=str
        )
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[language_pb2.DependencyInfo(name=name, version=version) for name, version in packages]
        )

    def InstallDependencies(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        # The project's own environment is there already: it is where this plugin runs.
        return iter(())

    def RuntimeOptionsPrompts(self, request: Any, context: grpc.ServicerContext) -> Any:
        return language_pb2.RuntimeOptionsResponse()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.stop()
        return empty_pb2.Empty()

    def stop(self) -> None:
        """Ends every program that this host has started."""
        with self._lock:
            running = list(self._running)
        for process in running:
            _end(process)

    def _start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        with self._lock:
            self._running.add(process)
        return process

    def _wait(self, process: subprocess.Popen[bytes], context: grpc.ServicerContext) -> int:
        context.add_callback(lambda: _end(process))
        try:
            return process.wait()
        finally:
            with self._lock:
                self._running.discard(process)


def _entry_point(request: Any) -> str:
    entry = request.info.entry_point or request.program or "."
    return str(Path(request.info.program_directory or request.pwd, entry))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that still runs: first with a request, after a grace without one."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def _relay(process: subprocess.Popen[bytes]) -> Iterator[Any]:
    """Yields a plugin's output as it appears, until it closes both streams."""
    chunks: queue.Queue[Any] = queue.Queue()

    def read(stream: IO[bytes], response: Callable[[bytes], Any]) -> None:
        while chunk := os.read(stream.fileno(), 65536):
            chunks.put(response(chunk))
        chunks.put(None)

    readers: list[tuple[IO[bytes] | None, Callable[[bytes], Any]]] = [
        (process.stdout, lambda chunk: language_pb2.RunPluginResponse(stdout=chunk)),
        (process.stderr, lambda chunk: language_pb2.RunPluginResponse(stderr=chunk)),
    ]
    for reader in readers:
        threading.Thread(target=read, args=reader, daemon=True).start()
    open_streams = len(readers)
    while open_streams:
        chunk = chunks.get()
        if chunk is None:
            open_streams -= 1
        else:
            yield chunk


def main() -> int:
    """Serves the language host; the engine's address is the last argument."""
    language = Language(engine_address(sys.argv[1:]))
    return serve(
        lambda server: language_pb2_grpc.add_LanguageRuntimeServicer_to_server(language, server), language.stop
    )


if __name__ == "__main__":
    sys.exit(main())
