"""The pinned programs the lab runs: found when a fitting version is installed, built from their Go modules otherwise.

Each upstream has a module folder of its own under ``lab/tools``: its ``tool`` directives say what can be built, its
go.mod and go.sum pin it and everything it depends on. Builds land in the cache folder under the digest of those two
files, so that a changed pin is a new build and an interrupted one leaves nothing half done.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

from lab.errors import LabError
from lab.paths import cache
from lab.progress import step

MODULES = Path(__file__).parent / "tools"
KUBERNETES, PULUMI, KUBE_OVN = "1.34.4", "3.259.0", "1.16.2"
Version = tuple[int, ...]


@dataclass(frozen=True)
class Tool:
    """A program: where its source is, how it tells its version, and which versions of an installed one fit."""

    name: str
    module: str  # folder under lab/tools
    package: str
    version: tuple[str, ...]  # arguments that make it print its version; none where it tells nobody and is always built
    minimum: Version
    below: Version | None
    ldflags: str = "-s -w"
    files: tuple[tuple[str, str], ...] = ()  # (module, path in it) of files that are kept beside the build


def _kubernetes(name: str, *version: str) -> Tool:
    stamp = "k8s.io/component-base/version.git"
    return Tool(
        name,
        "kubernetes",
        f"k8s.io/kubernetes/cmd/{name}",
        version or ("--version",),
        (1, 34),
        (1, 35),
        f"-s -w -X {stamp}Version=v{KUBERNETES} -X {stamp}Major=1 -X {stamp}Minor=34",
    )


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3", ("--version",), (3, 5), (4,)),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubelet"),
        _kubernetes("kubectl", "version", "--client"),
        Tool(
            "pulumi",
            "pulumi",
            "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            ("version",),
            (3, 259),
            (3, 260),
            f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{PULUMI}",
        ),
        Tool(
            "kube-ovn-controller",
            "kube-ovn",
            "github.com/kubeovn/kube-ovn/cmd/controller",
            (),
            (1, 16),
            (1, 17),
            f"-s -w -X github.com/kubeovn/kube-ovn/versions.VERSION=v{KUBE_OVN}",
            (
                ("github.com/kubeovn/kube-ovn", "charts/kube-ovn-v2/crds/kube-ovn-crd.yaml"),
                (
                    "github.com/k8snetworkplumbingwg/network-attachment-definition-client",
                    "artifacts/networks-crd.yaml",
                ),
            ),
        ),
        Tool("actionlint", "actionlint", "github.com/rhysd/actionlint/cmd/actionlint", ("-version",), (1, 7), (2,)),
    )
}
LAB = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"),
    *("pulumi", "kube-ovn-controller"),
)


def parse_version(text: str) -> Version | None:
    """Return the first ``major.minor[.patch]`` of a program's version text."""
    found = re.search(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part is not None) if found else None


def fits(tool: Tool, text: str) -> bool:
    """Tell whether a program that prints ``text`` as its version can stand in for the pinned build."""
    version = parse_version(text)
    return version is not None and version >= tool.minimum and (tool.below is None or version < tool.below)


def _installed(tool: Tool) -> Path | None:
    """A fitting program in ``$KUBEBUILDER_ASSETS`` or on PATH."""
    if not tool.version:
        return None
    for folder in (os.environ.get("KUBEBUILDER_ASSETS"), *os.environ.get("PATH", "").split(os.pathsep)):
        path = Path(folder or "/nonexistent") / tool.name
        if not os.access(path, os.X_OK) or path.is_dir():
            continue
        try:
            asked = subprocess.run([path, *tool.version], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if asked.returncode == 0 and fits(tool, asked.stdout):
            return path
    return None


def built(tool: Tool) -> Path:
    """Where the pinned build of ``tool`` is, or will be."""
    digest = hashlib.sha256("".join((tool.ldflags, *(path for _, path in tool.files))).encode())
    for name in ("go.mod", "go.sum"):
        digest.update((MODULES / tool.module / name).read_bytes())
    return cache() / "tools" / f"{tool.module}-{digest.hexdigest()[:12]}" / tool.name


def _build(tool: Tool, target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise LabError(f"{tool.name} has to be built and there is no `go` on PATH: install Go 1.26.4 or newer")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{tool.name}-") as scratch:
        out = Path(scratch) / tool.name
        with step(f"building {tool.name} from its Go module (once; minutes)"):
            done = subprocess.run(
                [go, "build", "-mod=readonly", "-trimpath", f"-ldflags={tool.ldflags}", "-o", out, tool.package],
                cwd=MODULES / tool.module,
                env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise LabError(f"building {tool.name} failed:\n{done.stderr.strip()[-2000:]}")
        for module, path in tool.files:
            ask = [go, "list", "-m", "-f", "{{.Dir}}", module]
            folder = subprocess.run(ask, cwd=MODULES / tool.module, capture_output=True, text=True, check=True).stdout
            shutil.copyfile(Path(folder.strip(), path), target.parent / Path(path).name)
        out.rename(target)


@once
def tool(name: str) -> Path:
    """Path of a program: a fitting installed one, else the pinned build, made now if need be.

    Raises:
        LabError: when it has to be built and cannot be.
    """
    wanted = TOOLS[name]
    found = _installed(wanted)
    if found is not None:
        return found.resolve()  # never a link in a lab's own bin folder
    target = built(wanted)
    if not target.exists():
        _build(wanted, target)
    return target


def tools(names: Iterable[str] = LAB) -> dict[str, Path]:
    """Paths of several programs, as ``tool`` finds or builds them."""
    return {name: tool(name) for name in names}
