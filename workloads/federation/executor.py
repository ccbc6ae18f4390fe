"""A SuperExec that forks apps from a process which has imported Flower and PyTorch already, and runs no foreign app.

Flower's SuperExec starts an interpreter for every message, and its imports are most of a short round. Here the process
of a message is a fork of ``multiprocessing``'s fork server. That server has done the imports and nothing else: it runs
no app, has one thread, has not touched a GPU, and was started as a program of its own, so it never had the SuperExec's
secret. Every message still gets a process of its own, with its own copy of everything.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from logging import WARNING
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from queue import Queue
from typing import Any

import numpy as np
from flwr.supercore import log
from flwr.supercore.cli import flower_superexec
from flwr.supercore.constant import ExecutorType, TaskType
from flwr.supercore.logger import mirror_output_to_queue, restore_output
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.executor import ExecutionSpec, Executor, LaunchResult, SubprocessExecutor, get_executor
from flwr.supercore.superexec.executor.config import ExecutorConfig
from flwr.supercore.tls import validate_and_resolve_root_certificates

from federation.connection import outlast_cuts

PRELOAD = "federation.preload"
App = Callable[[ExecutionSpec], None]


class ForkingExecutor(SubprocessExecutor):
    """In place of Flower's executor of local processes.

    Args:
        apps: what the process of a task does, by its type; other tasks are refused.
    """

    def __init__(self, apps: Mapping[TaskType, App]) -> None:
        self._apps = apps
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOAD])
        self._running: list[BaseProcess] = []
        forkserver.ensure_running()

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start the process of a task."""
        app = self._apps.get(spec.task_type)
        if app is None:
            return LaunchResult.failed(f"no {spec.task_type} runs here, only {', '.join(self._apps)}")
        process = self._context.Process(target=_forked, args=(app, spec))
        try:
            process.start()  # starts the fork server anew when it has died
        except (OSError, EOFError) as error:
            return LaunchResult.failed(f"the fork server does not answer: {error!r}")
        self._running.append(process)
        return LaunchResult.accepted()

    def reconcile(self) -> None:
        """Forget the processes that have ended; Flower calls this before it asks for a task."""
        for process in [p for p in self._running if not p.is_alive()]:
            self._running.remove(process)
            if process.exitcode is not None and process.exitcode < 0:
                log(WARNING, "the process %s of an app was ended by signal %d", process.pid, -process.exitcode)

    def close(self) -> None:
        """End the apps with the SuperExec, as Flower's end when they no longer see it."""
        self.reconcile()
        for process in self._running:
            process.terminate()


def _forked(app: App, spec: ExecutionSpec) -> None:
    """Begin as a new interpreter would: NumPy's global generator is the fork server's until it is seeded."""
    np.random.seed()
    outlast_cuts()
    if spec.suppress_output:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
    app(spec)


def _guarded(module: str) -> Any:
    """Return Flower's module, which now installs the app of this image and no other."""
    from federation import bundle  # noqa: PLC0415 - not for the SuperExec itself

    found: Any = import_module(module)
    found.install_from_fab = bundle.install
    return found


def run_client_app(spec: ExecutionSpec) -> None:
    """Do with a message what ``flwr-clientapp`` does with the arguments that Flower would give it."""
    _guarded("flwr.supernode.runtime.run_clientapp").run_clientapp(
        runtime_api_address=spec.runtime_api_address,
        token=spec.token,
        insecure=spec.insecure,
        certificates=validate_and_resolve_root_certificates(spec.root_certificates_path, spec.insecure),
        parent_pid=spec.parent_pid,
        runtime_dependency_install=spec.runtime_dependency_install,
    )


def run_server_app(spec: ExecutionSpec) -> None:
    """Do with a run what ``flwr-serverapp`` does with the arguments that Flower would give it."""
    lines: Queue[str | None] = Queue()
    mirror_output_to_queue(lines)
    _guarded("flwr.superlink.runtime.run_serverapp").run_serverapp(
        runtime_api_address=spec.runtime_api_address,
        log_queue=lines,
        token=spec.token,
        insecure=spec.insecure,
        certificates=validate_and_resolve_root_certificates(spec.root_certificates_path, spec.insecure),
        parent_pid=spec.parent_pid,
        runtime_dependency_install=spec.runtime_dependency_install,
    )
    restore_output()


APPS: Mapping[TaskType, App] = {TaskType.CLIENT_APP: run_client_app, TaskType.SERVER_APP: run_server_app}


def _executor(
    executor_type: ExecutorType,
    executor_config: ExecutorConfig | None = None,
    *,
    insecure: bool = False,
    root_certificates_path: str | None = None,
) -> Executor:
    if executor_type == ExecutorType.SUBPROCESS:
        return ForkingExecutor(APPS)
    return get_executor(
        executor_type, executor_config, insecure=insecure, root_certificates_path=root_certificates_path
    )


def superexec(arguments: Sequence[str]) -> None:
    """Be ``flower-superexec`` with these arguments, but fork apps and refuse foreign ones.

    Flower 1.41 has an interface for executors and no option that names one of ours, so its choice is replaced here.
    """
    outlast_cuts()
    run_superexec.get_executor = _executor  # type: ignore[attr-defined]
    sys.argv = ["flower-superexec", *arguments]
    flower_superexec()
