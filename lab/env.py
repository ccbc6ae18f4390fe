"""The environment in which plain ``pulumi`` and ``kubectl`` work on a lab."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.paths import Paths, cache
from lab.pki import write_private
from lab.plugins import install
from lab.tools import tool

# Pulumi keeps a passphrase's salt in the stack's file, so whoever shares Pulumi.lab.yaml shares the passphrase. A lab's
# state never leaves its folder, which its owner alone can read; real stacks have passphrases of their own.
PASSPHRASE = "kubeflower-lab"  # noqa: S105


def key_root(paths: Paths) -> Path:
    """The file with the secret from which a testbed's keys are derived: made once, kept by ``lab down``."""
    path = paths.root / "key-root"
    if not path.exists():
        write_private(path, secrets.token_hex(32).encode() + b"\n")
    return path


def write_bin(paths: Paths) -> Path:
    """Fill the lab's bin folder with links to the programs that its user runs."""
    links = {"pulumi": tool("pulumi"), "kubectl": tool("kubectl")}
    own_uv = cache() / "uv" / "bin" / "uv"
    if shutil.which("uv") in (None, str(paths.bin / "uv")) and own_uv.exists():
        links["uv"] = own_uv
    paths.bin.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name, target in links.items():
        beside = paths.bin / f".{name}.{os.getpid()}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(target)
        beside.rename(paths.bin / name)
    return paths.bin


def keep_no_log(home: Path) -> None:
    """Let the engine write no log into a Pulumi home of the lab's own.

    By itself it logs every property of every resource, secret ones too, into a folder of its home; that takes a quarter
    of a judged preview's time, and there is no switch. Where the folder cannot be made it goes on without (upstream:
    ``pkg/logging/encrypted.go``, ``StartLogging``, and its caller), so a file is put in its place.
    """
    logs = home / "logs"
    if logs.is_dir():
        shutil.rmtree(logs)
    logs.touch(mode=0o600)


def pulumi_environment(paths: Paths) -> dict[str, str]:
    """What every use of the engine needs: its program and its plugins, a backend, no wish to look for updates."""
    folder, home = write_bin(paths), paths.root / "pulumi-home"
    install.prepare_home(home, tool("pulumi"))
    keep_no_log(home)
    paths.backend.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = os.environ.get("PATH", "").split(os.pathsep)
    return {
        "PATH": os.pathsep.join([str(folder), *(entry for entry in path if entry != str(folder))]),
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": f"file://{paths.backend}",
        "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def environment(paths: Paths) -> dict[str, str]:
    """The variables of a running lab.

    Raises:
        LabError: when the lab has no cluster, or a stack that the Kubernetes provider cannot take over.
    """
    if not paths.kubeconfig.exists():
        raise LabError(f"no lab in {paths.root}: start it with `lab up`")
    for state in (paths.backend / ".pulumi" / "stacks").rglob("*.json"):
        if _is_stand_ins(json.loads(state.read_bytes())):
            raise LabError(
                f"stack {state.stem} was made by the stand-in of an earlier version, and Pulumi's Kubernetes provider "
                "cannot take it over: run `make down`, then `make up`; raw data, privacy ledgers and keys stay, and "
                "nothing is charged twice"
            )
    return {
        **pulumi_environment(paths),
        "KUBECONFIG": str(paths.kubeconfig),
        "KUBEFLOWER_KEY_ROOT_FILE": str(key_root(paths)),
    }


def _is_stand_ins(state: Any) -> bool:
    """Whether the former stand-in wrote a stack's state.

    Both keep an object's field manager; Pulumi's provider also what the object was made of (upstream:
    ``checkpointObject``).
    """
    resources = ((state.get("checkpoint") or {}).get("latest") or {}).get("resources") or []
    return any(
        "__fieldManager" in kept and "__inputs" not in kept for kept in (r.get("outputs", {}) for r in resources)
    )


def exports(variables: dict[str, str]) -> str:
    """Lines for a shell's ``eval``."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
