"""Looking into a lab's pods by ``kubectl``, with less to type: the beginning of a pod's name is enough."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from lab.api import Api, ApiError, Unreachable
from lab.errors import LabError
from lab.paths import Paths
from lab.tools import tool


def logs(paths: Paths, pod: str, container: str | None, follow: bool) -> int:
    """Print what a pod's containers wrote, or one of them; with ``follow``, until it ends. Return kubectl's exit code.

    Raises:
        LabError: when no lab runs, or it has no such pod.
    """
    which = [f"--container={container}"] if container else ["--all-containers", "--prefix"]
    return _kubectl(paths, "logs", *_pod(paths, pod), *which, *(["--follow"] if follow else []))


def run_inside(paths: Paths, pod: str, container: str | None, command: Sequence[str]) -> int:
    """Run a command in a container and return its exit code.

    Raises:
        LabError: when no lab runs, it has no such pod, or no command is given.
    """
    argv = list(command[1:] if command[:1] == ["--"] else command)
    if not argv:
        raise LabError("give a command after `--`")
    which = [f"--container={container}"] if container else []
    terminal = ["--stdin", "--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    return _kubectl(paths, "exec", "--quiet", *_pod(paths, pod), *which, *terminal, "--", *argv)


def _pod(paths: Paths, pod: str) -> list[str]:
    """The words by which kubectl knows a pod, named in full or by a beginning that fits one alone."""
    namespace, _, beginning = pod.partition("/")
    if not namespace or not beginning or "/" in beginning:
        raise LabError(f"{pod!r}: name a pod as NAMESPACE/POD; `lab status` lists them")
    if not paths.kubeconfig.exists():
        raise LabError(f"no lab in {paths.root}: start it with `lab up`")
    try:
        found = Api(paths).get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    except (ApiError, *Unreachable) as error:
        raise LabError(f"the lab's API server does not answer: {error}") from None
    names = [str(one["metadata"]["name"]) for one in found]
    fitting = [name for name in names if name == beginning] or [name for name in names if name.startswith(beginning)]
    if not fitting:
        raise LabError(f"no pod {pod}; in {namespace} there are: {', '.join(names) or 'none'}")
    if len(fitting) > 1:
        raise LabError(f"{pod} may be {', '.join(fitting)}: name one")
    return ["--namespace", namespace, fitting[0]]


def _kubectl(paths: Paths, *arguments: str) -> int:
    env = {**os.environ, "KUBECONFIG": str(paths.kubeconfig)}
    return subprocess.run([tool("kubectl"), *arguments], env=env, check=False).returncode
