"""Gives the engine its plugins: the official ones, but for the language host, which cannot be built, a stand-in.

The engine looks for a plugin on ``PATH``, a language host then beside ``pulumi``, and any at last in
``$PULUMI_HOME/plugins``, where it takes the version that the program's SDK has and no other. The lab has a Pulumi home
of its own: what the person's home holds is linked there, and what is installed nowhere is put there.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from lab.paths import cache
from lab.tools import tool

LANGUAGE = "pulumi-language-python"
KUBERNETES = "pulumi-resource-kubernetes"

_MARK = "stand-in written by kubeFlower's lab"
_PACKAGES = {LANGUAGE: "pulumi", KUBERNETES: "pulumi-kubernetes"}


def official(name: str, pulumi: Path | None = None) -> Path | None:
    """Finds an installed official plugin.

    Args:
        name: ``LANGUAGE`` or ``KUBERNETES``.
        pulumi: the ``pulumi`` program; by default the one on ``PATH``.

    Returns:
        The executable on ``PATH``, beside ``pulumi`` or in the person's Pulumi home, or ``None``; never the lab's own.
    """
    return next((path for path in _places(name, pulumi) if os.access(path, os.X_OK) and not _is_ours(path)), None)


def to_build(pulumi: Path | None = None) -> list[str]:
    """The plugins that ``prepare_home`` will take from their pinned builds."""
    return [] if official(KUBERNETES, pulumi) else [KUBERNETES]


def prepare_home(home: Path, pulumi: Path | None = None) -> None:
    """Makes a Pulumi home in which the engine finds both plugins.

    Args:
        home: the lab's own Pulumi home, to be given to ``pulumi`` as ``PULUMI_HOME``.
        pulumi: the ``pulumi`` program; by default the one on ``PATH``.

    Raises:
        LabError: when the Kubernetes provider has to be built and cannot be.
    """
    for name in (LANGUAGE, KUBERNETES):
        place, found = home / "plugins" / _folder(name) / name, official(name, pulumi)
        for path in home.glob(f"plugins/*/{name}"):
            if path != place:
                shutil.rmtree(path.parent)
        if found is not None and not found.is_relative_to(_person_home()):
            shutil.rmtree(place.parent, ignore_errors=True)  # the engine finds it by itself
        elif found is not None or name == KUBERNETES:
            _link(place, found or tool(KUBERNETES))
        else:
            command = f"{shlex.quote(sys.executable)} -m lab.plugins.language"
            _write_executable(place, f'#!/bin/sh\n# {_MARK}\nexec {command} "$@"\n')


def _folder(name: str) -> str:
    """The folder of a plugin in a Pulumi home, of the version that the installed SDK asks for."""
    return f"{name.removeprefix('pulumi-')}-v{importlib.metadata.version(_PACKAGES[name])}"


def _person_home() -> Path:
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def _places(name: str, pulumi: Path | None) -> Iterator[Path]:
    """Where the engine looks for a plugin, in its order; beside itself it looks for languages only."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder:
            yield Path(folder, name)
    engine = str(pulumi) if pulumi else shutil.which("pulumi")
    if engine and name == LANGUAGE:
        yield Path(engine).resolve().parent / name
    yield _person_home() / "plugins" / _folder(name) / name


def _is_ours(path: Path) -> bool:
    """Whether a plugin is the stand-in or a pinned build."""
    if path.resolve().is_relative_to(cache().resolve()):
        return True
    try:
        with path.open("rb") as file:
            return _MARK.encode() in file.read(4096)
    except OSError:
        return False


def _link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(place)
    beside.unlink(missing_ok=True)
    beside.symlink_to(target.resolve())
    beside.replace(place)


def _write_executable(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(place)
    beside.write_text(text)
    beside.chmod(0o755)
    beside.replace(place)


def _beside(place: Path) -> Path:
    """Where to make what is then renamed, so that an engine that starts the plugin meanwhile finds it whole."""
    return place.with_name(f".{place.name}.{os.getpid()}")
