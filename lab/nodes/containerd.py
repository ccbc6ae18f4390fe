"""One node's containerd: its configuration, and the image it has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.nodes import image
from lab.nodes.description import Place

STATE = Path("/run/containerd")  # what a node sees there is its own
SOCKET = STATE / "containerd.sock"
_LOOPBACK = Path("/usr/lib/cni/loopback")  # of Debian's containernetworking-plugins
_UNUSED = (
    *("io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"),
    *(
        "io.containerd.snapshotter.v1.devmapper",
        "io.containerd.internal.v1.opt",
        "io.containerd.tracing.processor.v1.otlp",
    ),
)


def configure(place: Place) -> Path:
    """Write what containerd reads and return its configuration file.

    Raises:
        LabError: when a part is not installed.
    """
    folder = place.folder
    programs, networks, registries = folder / "cni", folder / "net.d", folder / "registries"
    for each in (programs, networks, registries / "_default"):
        each.mkdir(parents=True, exist_ok=True)
    if not _LOOPBACK.exists():
        raise LabError(f"{_LOOPBACK} is missing: run scripts/bootstrap")
    (programs / "loopback").symlink_to(_LOOPBACK)
    _script(programs / "kubeflower", sys.executable, "-m", "lab.nodes.cni")
    # Python costs more than runc: only a container's creation goes through it.
    runtime = f"{sys.executable} -I -S {Path(__file__).with_name('runtime.py')}"
    script = f'#!/bin/sh\ncase " $* " in *" create "*) exec {runtime} "$@" ;; esac\nexec runc "$@"\n'
    (folder / "runc").write_text(script)
    (folder / "runc").chmod(0o755)
    plugin = {"type": "kubeflower", "root": str(place.paths.root), "user": place.user}
    network = {"cniVersion": "0.4.0", "name": "kube-ovn", "plugins": [plugin]}
    (networks / "10-kubeflower.conflist").write_text(json.dumps(network))
    nobody = '"http://127.0.0.1:1"'  # no image is pulled: in the place of every registry stands a port that nobody has
    hosts = f'server = {nobody}\n[host.{nobody}]\ncapabilities = ["pull", "resolve"]\n'
    (registries / "_default" / "hosts.toml").write_text(hosts)
    (folder / "base.json").write_text(json.dumps(_base()))
    file = folder / "containerd.toml"
    file.write_text(_toml(folder))
    return file


def _script(path: Path, *argv: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {" ".join(argv)} "$@"\n')
    path.chmod(0o755)


def _base() -> dict[str, Any]:
    """Containerd's own specification of a container, with this machine's files in it."""
    shown = subprocess.run(["ctr", "oci", "spec"], capture_output=True, text=True, check=True).stdout
    spec: dict[str, Any] = json.loads(shown)
    options = ["rbind", "rprivate", "nosuid", "nodev", "ro"]
    spec["mounts"] += [
        {"destination": str(path), "source": str(path), "type": "bind", "options": options} for path in image.binds()
    ]
    return spec


def _toml(folder: Path) -> str:
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "{STATE}"
disabled_plugins = {json.dumps(_UNUSED)}
[debug]
level = "warn"
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image.NAME}"
disable_apparmor = true
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "{folder / "base.json"}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{folder / "runc"}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{folder / "cni"}"
conf_dir = "{folder / "net.d"}"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{folder / "registries"}"
"""


def serves(place: Place) -> bool:
    """Whether it answers."""
    _ctr(place, "version")
    return True


def load(place: Place, references: Iterable[str]) -> None:
    """Give it the lab's image, under its own name and under these.

    Raises:
        LabError: when it takes it not.
    """
    _ctr(place, "images", "import", "-", data=image.archive())
    for reference in references:
        _ctr(place, "images", "tag", "--force", image.NAME, reference)


def _ctr(place: Place, *arguments: str, data: bytes | None = None) -> None:
    entering = ["nsenter", f"--mount={place.mounts}", "--"]
    argv = [*entering, "ctr", "--address", str(SOCKET), "--namespace", "k8s.io", *arguments]
    done = subprocess.run(argv, input=data, capture_output=True, timeout=60, check=False)
    if done.returncode:
        raise LabError(f"containerd of node {place.host}: ctr {arguments[0]}: {done.stderr.decode().strip()}")
