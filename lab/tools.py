"""The pinned programs the lab runs: found when a fitting version is installed, built from their Go modules otherwise.

Each upstream has a module folder of its own under ``lab/tools``: its ``tool`` directives say what can be built, its
go.mod and go.sum pin it and everything it depends on. Builds land in the cache folder under the digest of those two
files, so that a changed pin is a new build and an interrupted one leaves nothing half done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

from lab import provider
from lab.errors import LabError
from lab.paths import cache
from lab.progress import step

MODULES = Path(__file__).parent / "tools"
KUBERNETES, PULUMI, KUBE_OVN = "1.34.4", "3.259.0", "1.16.2"
Version = tuple[int, ...]


@dataclass(frozen=True)
class Tool:
    """A program: where its source is, how it tells its version, and which versions of an installed one fit.

    ``source`` puts what the module lacks into an empty folder and returns further arguments of the build.
    """

    name: str
    module: str  # folder under lab/tools
    package: str
    version: tuple[str, ...]  # arguments that make it print its version; none where it tells nobody and is always built
    minimum: Version
    below: Version | None
    ldflags: str = "-s -w"
    files: tuple[tuple[str, str], ...] = ()  # (module, path in it) of files that are kept beside the build
    source: Callable[[str, Path, Path], list[str]] | None = None  # of the go program, the module folder, the empty one


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
        Tool(
            "pulumi-resource-kubernetes",
            "pulumi-kubernetes",
            provider.PACKAGE,
            (),
            (4, 25),
            (4, 26),
            f"-s -w -X {provider.MODULE}/pkg/version.Version={provider.VERSION}",
            source=provider.whole,
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


@once
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


def _find(tool: Tool) -> Path | None:
    """A fitting installed program, else the pinned build where there is one."""
    found = _installed(tool)
    if found is not None:
        return found.resolve()  # never a link in a lab's own bin folder
    target = built(tool)
    return target if target.exists() else None


def _build(tool: Tool, place: str) -> Path:
    """Build ``tool``, unless another process does; ``place`` says which of how many builds this is."""
    go = shutil.which("go")
    if go is None:
        raise LabError(f"{tool.name} has to be built and there is no `go` on PATH: install Go 1.26.4 or newer")
    target = built(tool)
    target.parent.mkdir(parents=True, exist_ok=True)
    with step(f"building {tool.name} from its Go module ({place}; once; minutes)"), _alone(target.parent):
        if target.exists():  # by another process, meanwhile
            return target
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{tool.name}-") as scratch:
            out, source = Path(scratch) / tool.name, Path(scratch) / "source"
            source.mkdir()
            more = tool.source(go, MODULES / tool.module, source) if tool.source else []
            done = subprocess.run(
                [go, "build", "-mod=readonly", "-trimpath", f"-ldflags={tool.ldflags}", *more, "-o", out, tool.package],
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
                listed = subprocess.run(ask, cwd=MODULES / tool.module, capture_output=True, text=True, check=True)
                shutil.copyfile(Path(listed.stdout.strip(), path), target.parent / Path(path).name)
            out.rename(target)
    return target


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which ends with the process however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def tools(names: Iterable[str] = LAB) -> dict[str, Path]:
    """Paths of programs: a fitting installed one, else the pinned build, made now if need be.

    Raises:
        LabError: when one has to be built and cannot be.
    """
    found = {name: _find(TOOLS[name]) for name in names}
    missing = [name for name, path in found.items() if path is None]
    made = {name: _build(TOOLS[name], f"{n} of {len(missing)}") for n, name in enumerate(missing, 1)}
    return {name: path or made[name] for name, path in found.items()}


def tool(name: str) -> Path:
    """Path of one program, as ``tools`` finds or builds it."""
    return tools([name])[name]
