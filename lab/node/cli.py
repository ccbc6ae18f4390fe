"""Running a command in a container from outside the lab."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lab.errors import LabError
from lab.paths import Paths
from lab.supervisor import State


def exec_argv(
    paths: Paths, namespace: str, pod: str, container: str | None, command: Sequence[str], *, tty: bool = False
) -> list[str]:
    """Return the argv that runs ``command`` in a container of a running pod.

    Args:
        paths: the lab's folder.
        namespace: the pod's namespace.
        pod: its name.
        container: which of its containers; None for the only or first one.
        command: program and arguments.
        tty: whether to give it a terminal.

    Raises:
        LabError: when the lab does not run, or has no such pod or container running.
    """
    state = State.read(paths)
    if state is None or not state.process.alive:
        raise LabError("the lab does not run: start it with `lab up`")
    for record in paths.pods.glob("*/pod.json"):
        if json.loads(record.read_text()) != {"namespace": namespace, "name": pod}:
            continue
        uid = record.parent.name
        running = sorted(p.name.removeprefix(f"{uid}_") for p in (paths.run / "runc").glob(f"{uid}_*"))
        if not running or container not in (None, *running):
            wanted = f"container {container}" if container else "a container"
            raise LabError(f"{namespace}/{pod} does not run {wanted}; it runs: {', '.join(running) or 'none'}")
        entering = ["nsenter", "--target", str(state.pid), "--mount", "--pid", "--"]
        terminal = ["--tty"] if tty else []
        name = f"{uid}_{container or running[0]}"
        return [*entering, "runc", "--root", str(paths.run / "runc"), "exec", *terminal, name, *command]
    raise LabError(f"no pod {namespace}/{pod} runs in the lab")
