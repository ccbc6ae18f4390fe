"""The app of an image, and that no other is installed."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

from federation import bundle
from federation.errors import FederationError
from federation.executor import _guarded


def test_a_bundle_depends_on_the_app_alone(tmp_path: Path) -> None:
    content, digest = bundle.build()
    assert digest == hashlib.sha256(content).hexdigest()
    copied = shutil.copytree(Path(bundle.__file__).parent, tmp_path / "federation", copy_function=shutil.copy)
    assert build_fab_from_disk(copied) == content  # elsewhere, later, by other hands
    with (copied / "client_app.py").open("a") as file:
        file.write("# changed\n")
    assert build_fab_from_disk(copied) != content


def test_the_own_app_is_installed(tmp_path: Path) -> None:
    installed = bundle.install(bundle.build()[0], install_dir=tmp_path, skip_prompt=True)
    assert (installed / "client_app.py").read_bytes() == Path(bundle.__file__).with_name("client_app.py").read_bytes()


def test_a_foreign_app_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    content = io.BytesIO(bundle.build()[0])
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = b"one byte more is another app"
    with pytest.raises(FederationError, match=r"refused app [0-9a-f]{12}: this pod runs the app of its own image"):
        bundle.install(content.getvalue(), install_dir=tmp_path, skip_prompt=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("flwr.supernode.runtime.run_clientapp", "run_clientapp"),
        ("flwr.superlink.runtime.run_serverapp", "run_serverapp"),
    ],
)
def test_flower_installs_apps_where_the_guard_is(monkeypatch: pytest.MonkeyPatch, module: str, function: str) -> None:
    found = import_module(module)
    monkeypatch.setattr(found, "install_from_fab", found.install_from_fab)  # put back afterwards
    assert "install_from_fab" in getattr(found, function).__code__.co_names
    guarded = _guarded(module)
    assert getattr(guarded, function).__globals__["install_from_fab"] is bundle.install
