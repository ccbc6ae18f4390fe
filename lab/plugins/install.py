"""Gives the engine its plugins: the official ones where they are to be had, stand-ins for the others.

The engine looks for a plugin on ``PATH``, then beside ``pulumi``, then in ``$PULUMI_HOME/plugins``. Stand-ins are put
in the last place, in a Pulumi home of the lab's own: an official plugin in the first two is preferred by the engine
itself, and one that the person has in a Pulumi home of their own is linked.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

LANGUAGE = "pulumi-language-python"
KUBERNETES = "pulumi-resource-kubernetes"

_MARK = "stand-in written by kubeFlower's lab"
_MODULES = {LANGUAGE: "lab.plugins.language", KUBERNETES: "lab.plugins.kubernetes"}
_PACKAGES = {LANGUAGE: "pulumi", KUBERNETES: "pulumi-kubernetes"}


def official(name: str, pulumi: Path | None = None) -> Path | None:
    """Finds an official plugin.

    Args:
        name: ``LANGUAGE`` or ``KUBERNETES``.
        pulumi: the ``pulumi`` program; by default the one on ``PATH``.

    Returns:
        The executable on ``PATH``, beside ``pulumi`` or in the person's Pulumi home (there the newest), or ``None``.
        A stand-in is never returned.

    Raises:
        ValueError: the name is neither of the two.
    """
    _known(name)
    candidates = [*_preferred(name, pulumi), *sorted(_person_home().glob(f"plugins/*/{name}"), reverse=True)]
    return next((path for path in candidates if os.access(path, os.X_OK) and not _is_shim(path)), None)


def prepare_home(home: Path, pulumi: Path | None = None) -> list[str]:
    """Makes a Pulumi home in which the engine finds both plugins.

    Args:
        home: the lab's own Pulumi home, to be given to ``pulumi`` as ``PULUMI_HOME``.
        pulumi: the ``pulumi`` program; by default the one on ``PATH``.

    Returns:
        The names of the plugins that have a stand-in.
    """
    found_at = {name: official(name, pulumi) for name in _MODULES}
    absent = [name for name, found in found_at.items() if found is None]
    write_shims(home, need=absent)
    for name, found in found_at.items():
        if found is not None and found.is_relative_to(_person_home()) and not found.is_relative_to(home):
            link = home / "plugins" / found.parent.name / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.unlink(missing_ok=True)
                link.symlink_to(found)
    return absent


def write_shims(home: Path, *, need: Iterable[str]) -> None:
    """Writes executables that run this interpreter's stand-ins into a Pulumi home.

    Stand-ins that are there but not needed are removed, so that none hides an official plugin.

    Args:
        home: the lab's own Pulumi home, made if it is absent.
        need: the plugins to stand in for: ``LANGUAGE``, ``KUBERNETES``.

    Raises:
        ValueError: a name is neither of the two.
    """
    needed = set(need)
    for name in needed:
        _known(name)
    plugins = home / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    for name, module in _MODULES.items():
        wanted = plugins / _folder(name) / name if name in needed else None
        for path in plugins.glob(f"*/{name}"):
            if _is_shim(path) and path != wanted:
                shutil.rmtree(path.parent)
        if wanted is not None:
            command = f"{shlex.quote(sys.executable)} -m {module}"
            _write_executable(wanted, f'#!/bin/sh\n# {_MARK}\nexec {command} "$@"\n')


def _known(name: str) -> None:
    if name not in _MODULES:
        raise ValueError(f"no stand-in for {name!r}; there are {', '.join(sorted(_MODULES))}")


def _folder(name: str) -> str:
    """The folder of a plugin in a Pulumi home, of the version that the installed SDK asks for."""
    return f"{name.removeprefix('pulumi-')}-v{importlib.metadata.version(_PACKAGES[name])}"


def _person_home() -> Path:
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def _preferred(name: str, pulumi: Path | None) -> Iterable[Path]:
    """The places where the engine looks before a Pulumi home; beside itself it looks for languages only."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder:
            yield Path(folder, name)
    engine = str(pulumi) if pulumi else shutil.which("pulumi")
    if engine and name == LANGUAGE:
        yield Path(engine).resolve().parent / name


def _is_shim(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _MARK.encode() in file.read(4096)
    except OSError:
        return False


def _write_executable(path: Path, text: str) -> None:
    """Writes beside and renames: an engine that starts the plugin at this moment finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.chmod(0o755)
    beside.replace(path)
