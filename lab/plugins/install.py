"""Finds Pulumi's official plugins, and writes the executables that stand in for those that are absent."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

LANGUAGE = "pulumi-language-python"
KUBERNETES = "pulumi-resource-kubernetes"
POLICY = "pulumi-analyzer-policy-python"

_MARK = "stand-in written by kubeFlower's lab"
_COMMANDS = {
    LANGUAGE: "-m lab.plugins.language",
    KUBERNETES: "-m lab.plugins.kubernetes",
    POLICY: "-u -m pulumi.policy",
}


def official(name: str, pulumi: Path | None = None) -> Path | None:
    """Finds the official plugin that the engine would run.

    Args:
        name: ``LANGUAGE``, ``KUBERNETES`` or ``POLICY``.
        pulumi: the ``pulumi`` program; by default the one on ``PATH``.

    Returns:
        The plugin's executable on ``PATH``, beside ``pulumi`` or in ``$PULUMI_HOME/plugins``, or ``None`` where there
        is no other than a stand-in.

    Raises:
        ValueError: the name is none of the three.
    """
    if name not in _COMMANDS:
        raise ValueError(f"{name!r} is no plugin known here; known are {', '.join(sorted(_COMMANDS))}")
    found = (path for path in _candidates(name, pulumi) if os.access(path, os.X_OK) and not _is_shim(path))
    return next(found, None)


def write_shims(directory: Path, *, need: Iterable[str]) -> None:
    """Writes executables that run this interpreter's stand-ins, for a folder that is put first on ``PATH``.

    A stand-in in the folder that is not needed is removed, so that it cannot hide an official plugin.

    Args:
        directory: the folder, made if it is absent; it belongs to the lab alone.
        need: names of the plugins to stand in for: ``LANGUAGE``, ``KUBERNETES``, ``POLICY``.

    Raises:
        ValueError: a name is none of the three.
    """
    needed = set(need)
    if unknown := needed - _COMMANDS.keys():
        raise ValueError(f"no stand-in for {', '.join(sorted(unknown))}; there are {', '.join(sorted(_COMMANDS))}")
    directory.mkdir(parents=True, exist_ok=True)
    for name, command in _COMMANDS.items():
        path = directory / name
        if name not in needed:
            if _is_shim(path):
                path.unlink()
            continue
        script = f'#!/bin/sh\n# {_MARK}\nexec {shlex.quote(sys.executable)} {command} "$@"\n'
        _write_executable(path, script)


def _candidates(name: str, pulumi: Path | None) -> Iterable[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder:
            yield Path(folder, name)
    found = str(pulumi) if pulumi else shutil.which("pulumi")
    if found:
        yield Path(found).resolve().parent / name
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    _, kind, short = name.split("-", 2)
    yield from sorted(home.glob(f"plugins/{kind}-{short}-v*/{name}"), reverse=True)


def _is_shim(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _MARK.encode() in file.read(4096)
    except OSError:
        return False


def _write_executable(path: Path, text: str) -> None:
    """Writes beside and renames: an engine that starts a plugin at this moment finds the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.chmod(0o755)
    beside.replace(path)
