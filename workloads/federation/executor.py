"""A SuperExec that forks ClientApps from a process which has imported Flower and PyTorch already.

Flower's SuperExec starts an interpreter for every message, and its imports are most of a short round. Here the process
of a message is a fork of ``multiprocessing``'s fork server. That server has done the imports and nothing else: it runs
no app, has one thread, has not touched a GPU, and was started as a program of its own, so it never had the SuperExec's
secret. Every message still gets a process of its own, with its own copy of everything.

Only ClientApps are forked; a ServerApp starts once a run. What cannot be forked is started as Flower starts it.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Sequence
from logging import WARNING
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess

import numpy as np
from flwr.supercore import log
from flwr.supercore.cli import flower_superexec
from flwr.supercore.constant import ExecutorType, TaskType
from flwr.supercore.superexec import run_superexec
from flwr.supercore.superexec.executor import ExecutionSpec, Executor, LaunchResult, SubprocessExecutor, get_executor
from flwr.supercore.superexec.executor.config import ExecutorConfig
from flwr.supercore.tls import validate_and_resolve_root_certificates

PRELOAD = "federation.preload"


class ForkingExecutor(SubprocessExecutor):
    """Flower's executor of local processes, but ClientApps are forked.

    Args:
        app: what the process of a ClientApp does.
    """

    def __init__(self, app: Callable[[ExecutionSpec], None]) -> None:
        self._app = app
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOAD])
        self._running: list[BaseProcess] = []
        forkserver.ensure_running()

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start the process of a task."""
        if spec.task_type is not TaskType.CLIENT_APP or spec.suppress_output:
            return super().launch(spec)
        process = self._context.Process(target=_forked, args=(self._app, spec))
        try:
            process.start()  # starts the fork server anew when it has died
        except (OSError, EOFError) as error:
            log(WARNING, "The fork server does not answer, so the ClientApp starts without it: %r", error)
            return super().launch(spec)
        self._running.append(process)
        return LaunchResult.accepted()

    def reconcile(self) -> None:
        """Forget the processes that have ended; Flower calls this before it asks for a task."""
        for process in [p for p in self._running if not p.is_alive()]:
            self._running.remove(process)
            if process.exitcode is not None and process.exitcode < 0:
                log(WARNING, "ClientApp process %s was ended by signal %d", process.pid, -process.exitcode)

    def close(self) -> None:
        """End the ClientApps with the SuperExec, as Flower's end when they no longer see it."""
        self.reconcile()
        for process in self._running:
            process.terminate()


def _forked(app: Callable[[ExecutionSpec], None], spec: ExecutionSpec) -> None:
    """Begin as a new interpreter would: NumPy's global generator is the fork server's until it is seeded."""
    np.random.seed()
    app(spec)


def run_client_app(spec: ExecutionSpec) -> None:
    """Do with a message what ``flwr-clientapp`` does with the arguments that Flower would give it."""
    from flwr.supernode.runtime.run_clientapp import run_clientapp  # noqa: PLC0415 - not for the SuperExec itself

    run_clientapp(
        runtime_api_address=spec.runtime_api_address,
        token=spec.token,
        insecure=spec.insecure,
        certificates=validate_and_resolve_root_certificates(spec.root_certificates_path, spec.insecure),
        parent_pid=spec.parent_pid,
        runtime_dependency_install=spec.runtime_dependency_install,
    )


def _executor(
    executor_type: ExecutorType,
    executor_config: ExecutorConfig | None = None,
    *,
    insecure: bool = False,
    root_certificates_path: str | None = None,
) -> Executor:
    if executor_type == ExecutorType.SUBPROCESS:
        return ForkingExecutor(run_client_app)
    return get_executor(
        executor_type, executor_config, insecure=insecure, root_certificates_path=root_certificates_path
    )


def superexec(arguments: Sequence[str]) -> None:
    """Be ``flower-superexec`` with these arguments, but fork ClientApps.

    Flower 1.41 has an interface for executors and no option that names one of ours, so its choice is replaced here.
    """
    run_superexec.get_executor = _executor  # type: ignore[attr-defined]
    sys.argv = ["flower-superexec", *arguments]
    flower_superexec()
