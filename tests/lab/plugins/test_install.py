"""Which plugins the engine is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import provider, tools
from lab.plugins import install

SDK = f"resource-kubernetes-v{provider.VERSION}"


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person who has no plugin, on a machine where the pinned provider is built already."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "person"))
    monkeypatch.setenv("KUBEFLOWER_CACHE", str(tmp_path / "cache"))
    executable(tools.built(tools.TOOLS[install.KUBERNETES]))
    return tmp_path


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/true\n")
    path.chmod(0o755)
    return path


def plugins(home: Path) -> dict[str, Path]:
    """What is in a Pulumi home: folder to the file that the plugin really is."""
    return {path.parent.name: path.resolve() for path in home.glob("plugins/*/*")}


def test_what_is_not_installed_is_built_or_stood_in_for(person: Path) -> None:
    lab = person / "lab"
    for _ in range(2):
        assert install.to_build() == [install.KUBERNETES]
        install.prepare_home(lab)
        host = plugins(lab)
        assert host.pop(SDK) == tools.built(tools.TOOLS[install.KUBERNETES]).resolve()
        assert [path.name for path in host.values()] == [install.LANGUAGE]


def test_the_labs_own_are_never_taken_for_installed_ones(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the lab's home as Pulumi's, as `lab env` sets it, or copied onto PATH."""
    lab = person / "lab"
    install.prepare_home(lab)
    before = plugins(lab)
    monkeypatch.setenv("PULUMI_HOME", str(lab))
    copy = executable(person / "path" / install.LANGUAGE)
    copy.write_bytes(next(lab.glob(f"plugins/*/{install.LANGUAGE}")).read_bytes())
    assert (install.official(install.LANGUAGE), install.official(install.KUBERNETES)) == (None, None)
    install.prepare_home(lab)
    assert plugins(lab) == before


def test_an_installed_plugin_comes_first(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = person / "lab"
    install.prepare_home(lab)
    theirs = executable(person / "person" / "plugins" / SDK / install.KUBERNETES)
    executable(person / "path" / install.LANGUAGE)  # the engine finds it by itself
    assert install.to_build() == []
    install.prepare_home(lab)
    assert plugins(lab) == {SDK: theirs}
    monkeypatch.setenv("PULUMI_HOME", str(lab))
    install.prepare_home(lab)
    assert plugins(lab) == {SDK: theirs}
    executable(person / "path" / install.KUBERNETES)
    install.prepare_home(lab)
    assert plugins(lab) == {}


def test_a_plugin_of_another_version_is_not_what_the_engine_will_take(person: Path) -> None:
    executable(person / "person" / "plugins" / "resource-kubernetes-v4.34.2" / install.KUBERNETES)
    assert install.official(install.KUBERNETES) is None
    install.prepare_home(person / "lab")
    assert plugins(person / "lab")[SDK].is_relative_to(person / "cache")
