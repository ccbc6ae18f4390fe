"""Starting, ending and sweeping a lab from outside."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.errors import LabError
from lab.nodes.description import Description
from lab.paths import REPOSITORY, Paths
from lab.pki import write_private
from lab.progress import say
from lab.supervisor import State

PROGRAMS = (
    *("setsid", "unshare", "setpriv", "nsenter", "pivot_root", "ip", "mount", "ethtool"),
    *("containerd", "ctr", "runc", "catatonit"),
)


@contextmanager
def _lock(paths: Paths, patience: float, kind: int = fcntl.LOCK_EX) -> Iterator[int | None]:
    """Hold the lab's lock, which its supervisor inherits and holds for life; None when it is not free in time."""
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(paths.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
                yield handle
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    break
            time.sleep(0.02)
        yield None
    finally:
        os.close(handle)


def running(paths: Paths) -> bool:
    """Whether a supervisor of this lab is alive, ready or not."""
    if not (paths.root / "lock").exists():
        return False
    with _lock(paths, 0, fcntl.LOCK_SH) as handle:
        return handle is None


def start(paths: Paths, description: Description) -> bool:
    """Start the lab and wait until all of it serves; a lab that runs already is left as it is.

    Args:
        paths: its folder.
        description: its nodes.

    Returns:
        Whether it was started now.

    Raises:
        LabError: when this is not root, a program is missing, or a daemon does not serve.
    """
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces and mounts: run it as root")
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise LabError(f"missing programs: {', '.join(missing)}; run scripts/bootstrap")
    with _lock(paths, 0.2) as handle:  # longer than another command asks whether it runs
        if handle is not None:
            sweep(paths)
            write_private(_nodes(paths), description.model_dump_json(indent=1).encode())
            _launch(paths, handle)
    _wait(paths)
    if Description.model_validate_json(_nodes(paths).read_bytes()) != description:
        raise LabError(
            "the running lab has other nodes, another folder of volumes or another image than the stack declares: "
            "run `lab down` first"
        )
    return handle is not None


def _nodes(paths: Paths) -> Path:
    return paths.run / "nodes.json"


def _launch(paths: Paths, lock: int) -> None:
    paths.logs.mkdir(parents=True, exist_ok=True)
    with (paths.logs / "supervisor.log").open("ab") as log:
        subprocess.run(
            [
                *(
                    "setsid",
                    "--fork",
                    "unshare",
                    "--pid",
                    "--mount",
                    "--fork",
                    "--kill-child",
                    "--propagation",
                    "private",
                    "--",
                ),
                *(sys.executable, "-m", "lab.supervisor", "--root", str(paths.root), "--nodes", str(_nodes(paths))),
            ],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            check=True,
        )


def _wait(paths: Paths, timeout: float = 180.0) -> None:
    """Follow the supervisor's state until it runs."""
    deadline, told = time.monotonic() + timeout, ""
    while time.monotonic() < deadline:
        alive, state = running(paths), State.read(paths)
        if state is not None and state.phase == "running" and alive:
            return
        if state is not None and state.phase == "failed":
            raise LabError(f"the lab did not start: {state.detail}")
        if not alive:
            log = paths.logs / "supervisor.log"
            last = log.read_text(errors="replace").splitlines()[-8:]
            raise LabError("\n".join(["the lab's supervisor ended while starting", f"last lines of {log}:", *last]))
        if state is not None and state.detail not in ("", told):
            told = state.detail
            say(f"starting {told}")
        time.sleep(0.05)
    raise LabError(f"the lab is not ready after {timeout:.0f} s (starting {told or 'its supervisor'})")


def stop(paths: Paths) -> State | None:
    """End the lab and remove everything of it but the nodes' disks and the keys.

    Returns:
        The last state of its supervisor; None when there was none.

    Raises:
        LabError: when its supervisor does not end.
    """
    if not paths.root.exists():
        return None
    deadline = time.monotonic() + 10
    while running(paths):
        state = State.read(paths)
        if state is not None and state.process.alive:
            if not state.process.end(grace=30):
                raise LabError(f"the supervisor (process {state.pid}) does not end")
        elif time.monotonic() > deadline:
            raise LabError(f"something holds {paths.root / 'lock'} and does not say which process it is")
        time.sleep(0.05)
    with _lock(paths, 10) as handle:
        if handle is None:
            raise LabError(f"{paths.root / 'lock'} is held by another command; try again")
        state = State.read(paths)
        sweep(paths)
        for folder in _made_anew(paths):
            shutil.rmtree(folder, ignore_errors=True)
        paths.kubeconfig.unlink(missing_ok=True)
    return state


def sweep(paths: Paths) -> None:
    """Remove what outlives a supervisor, while the lock is held: cgroups, what ran, and Pulumi's state of its cluster.

    State without its cluster would make the next update believe that everything is there.
    """
    deadline = time.monotonic() + 5
    while _cgroups(paths) and time.monotonic() < deadline:  # a process that is just being killed holds its cgroup
        for folder in _cgroups(paths):
            for path, _, _ in os.walk(folder, topdown=False):
                with suppress(OSError):
                    os.rmdir(path)  # noqa: PTH106 - a cgroup is removed whole, never its files
        time.sleep(0.02)
    for folder in (paths.run, paths.backend):
        shutil.rmtree(folder, ignore_errors=True)


def _made_anew(paths: Paths) -> list[Path]:
    """Folders that the next lab makes anew: logs, links to programs and plugins."""
    return [paths.logs, paths.bin, paths.root / "pulumi-home"]


def _cgroups(paths: Paths) -> list[Path]:
    """The lab's parent cgroup in every hierarchy of this machine."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]
    return [folder for root in roots if (folder := root / paths.cgroup.lstrip("/")).is_dir()]


def leftovers(paths: Paths, last: State | None) -> list[str]:
    """Whatever of an ended lab is still on this machine; empty when it left nothing but disks and keys.

    Args:
        paths: the lab's folder.
        last: its supervisor's last state, where there was one.
    """
    prefix = f"kf-{paths.name}-"
    found = [f"process {pid} ({name})" for pid, name in (_processes(last.namespace) if last else ())]
    netns = Path("/run/netns")
    found += [f"network namespace {path.name}" for path in (netns.glob(f"{prefix}*") if netns.is_dir() else ())]
    found += [f"network interface {path.name}" for path in Path("/sys/class/net").glob(f"{prefix}*")]
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    found += [f"mount {path}" for path in mounts if Path(path).is_relative_to(paths.root)]
    found += [f"cgroup {folder}" for folder in _cgroups(paths)]
    temporary = (paths.run, paths.backend, *_made_anew(paths), paths.kubeconfig)
    return found + [f"file {path}" for path in temporary if path.exists()]


def _processes(namespace: str) -> Iterator[tuple[int, str]]:
    """Processes in a PID namespace, with their names."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                if str((entry / "ns/pid").readlink()) == namespace:
                    yield int(entry.name), (entry / "comm").read_text().strip()
