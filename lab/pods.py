"""Looking into a lab's pods: what their containers wrote, and commands run beside them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError
from lab.node.cli import exec_argv
from lab.node.logs import read
from lab.paths import Paths


def _split(pod: str) -> tuple[str, str]:
    namespace, _, name = pod.partition("/")
    if not namespace or not name or "/" in name:
        raise LabError(f"{pod!r}: name a pod as NAMESPACE/POD; `lab status` lists them")
    return namespace, name


def _folder(paths: Paths, pod: str) -> Path:
    """The logs of a pod, named in full or by a beginning that fits one alone.

    Raises:
        LabError: when none or several fit.
    """
    namespace, name = _split(pod)
    folders = sorted(folder for folder in (paths.logs / "pods").glob(f"{namespace}_*") if folder.is_dir())
    names = {folder.name.partition("_")[2]: folder for folder in folders}
    fitting = [name] if name in names else [one for one in names if one.startswith(name)]
    if len(fitting) == 1:
        return names[fitting[0]]
    if not fitting:
        raise LabError(f"no logs of {pod}; in {namespace} there are: {', '.join(names) or 'none'}")
    raise LabError(f"{pod} may be {', '.join(fitting)}: name one")


def logs(paths: Paths, pod: str, container: str | None, follow: bool) -> None:
    """Print what a pod's containers wrote; with ``follow``, one container's until interrupted.

    Raises:
        LabError: when there is no such pod or container.
    """
    folder = _folder(paths, pod)
    files = {file.name.removesuffix(".log"): file for file in sorted(folder.glob("*.log"))}
    if container is not None and container not in files:
        raise LabError(f"{pod} has no logs of container {container!r}; it has {', '.join(files) or 'none'}")
    chosen = [container] if container is not None else list(files)
    if follow and len(chosen) != 1:
        raise LabError(f"choose the container to follow with -c: {', '.join(files)}")
    for name in chosen:
        if len(chosen) > 1:
            sys.stdout.write(f"== {name}\n")
        for chunk in read(files[name], None, follow, lambda: True):
            sys.stdout.write(chunk.decode(errors="replace"))
            sys.stdout.flush()


def run_inside(paths: Paths, pod: str, container: str | None, command: Sequence[str]) -> int:
    """Run a command in a container and return its exit code.

    Raises:
        LabError: when there is no such pod or container, or no command.
    """
    argv = list(command[1:] if command[:1] == ["--"] else command)
    if not argv:
        raise LabError("give a command after `--`")
    namespace, name = _split(pod)
    tty = sys.stdin.isatty() and sys.stdout.isatty()
    return subprocess.run(exec_argv(paths, namespace, name, container, argv, tty=tty), check=False).returncode
