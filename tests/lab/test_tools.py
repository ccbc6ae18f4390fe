from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import provider, tools
from lab.errors import LabError


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing installed, nothing built."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("KUBEFLOWER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    tools._installed.cache_clear()
    yield tmp_path
    tools._installed.cache_clear()


def _program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("etcd", "etcd Version: 3.6.16\nGit SHA: x", True),
        ("etcd", "etcd Version: 3.4.23", False),
        ("kube-apiserver", "Kubernetes v1.34.4", True),
        ("kube-apiserver", "Kubernetes v1.34.0-rc.1", True),
        ("kube-apiserver", "Kubernetes v1.33.9", False),
        ("kube-apiserver", "Kubernetes v1.35.0", False),
        ("kube-apiserver", "Kubernetes v0.0.0-master+$Format:%H$", False),
        ("kubectl", "Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", False),
        ("pulumi", "v3.259.0", True),
        ("pulumi", "v3.260.0", False),
        ("pulumi", "no version at all", False),
    ],
)
def test_only_a_fitting_version_stands_in_for_the_pinned_one(name: str, text: str, expected: bool) -> None:
    assert tools.fits(tools.TOOLS[name], text) is expected


def test_a_fitting_program_on_path_is_used(empty_path: Path) -> None:
    there = _program(empty_path / "bin", "etcd", "etcd Version: 3.5.21")
    assert tools.tool("etcd") == there


def test_kubebuilder_assets_come_before_path(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(empty_path / "bin", "etcd", "etcd Version: 3.5.21")
    assets = _program(empty_path / "assets", "etcd", "etcd Version: 3.6.4")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets.parent))
    assert tools.tool("etcd") == assets


def test_an_unfitting_program_is_passed_over_for_the_pinned_build(empty_path: Path) -> None:
    _program(empty_path / "bin", "kubectl", "Client Version: v1.32.4")
    target = tools.built(tools.TOOLS["kubectl"])
    _program(target.parent, target.name, "Client Version: v1.34.4")
    assert tools.tool("kubectl") == target
    assert target.is_relative_to(empty_path / "cache")


def test_without_go_the_message_says_what_to_install(empty_path: Path) -> None:
    with pytest.raises(LabError, match="etcd has to be built and there is no `go`"):
        tools.tool("etcd")


def test_a_failed_build_leaves_nothing_and_shows_the_compilers_words(empty_path: Path) -> None:
    go = _program(empty_path / "bin", "go", "")
    go.write_text("#!/bin/sh\necho 'cannot find module' >&2\nexit 1\n")
    with pytest.raises(LabError, match="building etcd failed:\ncannot find module"):
        tools.tool("etcd")
    assert list(tools.built(tools.TOOLS["etcd"]).parent.iterdir()) == []


def test_every_tool_is_a_tool_of_its_module() -> None:
    for tool in tools.TOOLS.values():
        assert tool.package in (tools.MODULES / tool.module / "go.mod").read_text(), tool.name
        assert (tools.MODULES / tool.module / "go.sum").stat().st_size > 0


def test_the_engine_is_the_one_the_sdk_belongs_to() -> None:
    from importlib.metadata import version

    assert version("pulumi") == tools.PULUMI
    assert f"github.com/pulumi/pulumi/pkg/v3 v{tools.PULUMI}" in (tools.MODULES / "pulumi" / "go.mod").read_text()


def test_the_kubernetes_provider_is_the_one_the_sdk_belongs_to() -> None:
    from importlib.metadata import version

    assert version("pulumi-kubernetes") == provider.VERSION
    assert provider.MODULE in (tools.MODULES / "pulumi-kubernetes" / "go.mod").read_text()


def test_what_the_provider_embeds_is_made_of_its_own_files(tmp_path: Path) -> None:
    module, command = tmp_path / "cached", "cmd/pulumi-resource-kubernetes"
    (module / command).mkdir(parents=True)
    (module / command / "schema.json").write_text('{"name": "kubernetes"}')
    (module / command / "terraform-mapping.json").write_text("{}")
    (module / command).chmod(0o555)  # as Go's cache is
    pins = tmp_path / "pins"
    pins.mkdir()
    for name in ("go.mod", "go.sum"):
        (pins / name).write_text(name)
    go = _program(tmp_path, "go", json.dumps({"Dir": str(module)}))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert provider.whole(str(go), pins, scratch) == [f"-modfile={scratch / 'go.mod'}"]
    made = scratch / "module" / command
    assert json.loads((made / "schema-embed.json").read_text()) == {"name": "kubernetes", "version": provider.VERSION}
    assert (made / "terraform-mapping-embed.json").read_text() == "{}"
    assert (scratch / "go.sum").read_text() == "go.sum"


def test_a_person_sees_which_build_of_how_many_runs(empty_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go = _program(empty_path / "bin", "go", "")
    go.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n: > "$2"\n')
    assert set(tools.tools(["etcd", "pulumi"])) == {"etcd", "pulumi"}
    said = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        f"building {name} from its Go module ({n} of 2; once; minutes) …" for n, name in ((1, "etcd"), (2, "pulumi"))
    ]
