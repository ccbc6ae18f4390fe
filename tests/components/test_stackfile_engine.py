"""Odd stack files, read by the real engine beside this project: the same configuration, or a refusal."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.env import pulumi_environment
from lab.paths import Paths
from testbed import stackfile
from testbed.errors import SpecError
from tests.components.rendering import ROOT

pytestmark = pytest.mark.engine

TOP = (ROOT / "Pulumi.lab.yaml").read_text()
# Added under `config:`, and what the engine of version 3.259 makes of it: None where it refuses. All are refused here.
REFUSED: dict[str, tuple[str, dict[str, Any] | None]] = {
    "no namespace": ("  storage: {raw: 1}\n", {"kubeflower:storage": {"raw": 1}}),
    "misspelt namespace": ("  kubeflowr:storage: {raw: 1}\n", {"kubeflowr:storage": {"raw": 1}}),
    "old form of a key": ("  kubeflower:config:storage: {raw: 1}\n", {"kubeflower:storage": {"raw": 1}}),
    "no value": ("  kubeflower:storage:\n", {"kubeflower:storage": ""}),
    "a key twice": ("  kubeflower:capacity: 5\n", None),
    "merge key": ("  kubeflower:storage: {<<: {raw: 1}}\n", {"kubeflower:storage": {"raw": 1}}),
    "number as key": ("  kubeflower:storage: {1: 1}\n", {"kubeflower:storage": {"1": 1}}),
    "base 60": ("  kubeflower:storage: {raw: 1:30}\n", {"kubeflower:storage": {"raw": "1:30"}}),
    "octal": ("  kubeflower:storage: {raw: 0644}\n", {"kubeflower:storage": {"raw": 420}}),
    "other octal": ("  kubeflower:storage: {raw: 0o644}\n", {"kubeflower:storage": {"raw": 420}}),
    "binary": ("  kubeflower:storage: {raw: 0b11}\n", {"kubeflower:storage": {"raw": 3}}),
    "underscore": ("  kubeflower:storage: {raw: 1_000}\n", {"kubeflower:storage": {"raw": 1000}}),
    "exponent alone": ("  kubeflower:storage: {raw: 1e1}\n", {"kubeflower:storage": {"raw": 10}}),
    "yes": ("  kubeflower:storage: {raw: yes}\n", {"kubeflower:storage": {"raw": "yes"}}),
    "date": (
        "  kubeflower:storage: {raw: 2001-01-01}\n",
        {"kubeflower:storage": {"raw": "2001-01-01 00:00:00 +0000 UTC"}},
    ),
    "tag": ("  kubeflower:storage: {raw: !!str 1}\n", {"kubeflower:storage": {"raw": "1"}}),
    "more digits than are kept": (
        "  kubeflower:storage: {raw: 0.70000000000000000001}\n",
        {"kubeflower:storage": {"raw": 0.7}},
    ),
    "infinity": ("  kubeflower:storage: {raw: .inf}\n", None),
    "deep nesting": (
        f"  kubeflower:storage: {'[' * 50}{']' * 50}\n",
        json.loads(f'{{"kubeflower:storage": {"[" * 50}{"]" * 50}}}'),
    ),
    "a secret within": ("  kubeflower:storage: {raw: {secure: v1:x}}\n", {"kubeflower:storage": "(secret)"}),
}
# What both read, and as what.
SAME: dict[str, tuple[str, Any]] = {
    "numbers": ("{raw: 3, private: 1.0, root: 1.5E-7, x: -2}", {"raw": 3, "private": 1, "root": 1.5e-7, "x": -2}),
    "quoted": ("{raw: '1:30', private: \"yes\", root: '0644'}", {"raw": "1:30", "private": "yes", "root": "0644"}),
    "words": ("{raw: true, private: false, root: ~}", {"raw": True, "private": False, "root": None}),
    "alias": ("{raw: &a [1, {b: é}], private: *a}", {"raw": [1, {"b": "é"}], "private": [1, {"b": "é"}]}),
    "block": ("\n    raw: |\n      a\n      b\n    root: >-\n      c\n      d\n", {"raw": "a\nb\n", "root": "c d"}),
    "json in text": ('\'{"raw": 1e-5}\'', {"raw": 1e-5}),
}  # fmt: skip


@dataclass(frozen=True)
class Engine:
    """A stack ``lab`` of this project, in a folder of its own."""

    folder: Path
    environment: dict[str, str]

    def pulumi(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", *arguments, "--stack", "lab", "--non-interactive", "--color=never"],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def file(self, added: str) -> Path:
        path = stackfile.where("lab", self.folder)
        path.write_text(TOP.replace("config:\n", f"config:\n{added}"))
        return path

    def config(self) -> dict[str, str] | None:
        """The configuration as a program is given it; None where the engine refuses the file."""
        done = self.pulumi("config", "--json")
        if done.returncode:
            assert "panic" not in done.stderr
            return None
        return {key: one.get("value", "(secret)") for key, one in json.loads(done.stdout).items()}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("project")
    paths = Paths(tmp_path_factory.mktemp("engine"))
    options = {"virtualenv": str(ROOT / ".venv")}
    (folder / "Pulumi.yaml").write_text(
        json.dumps({"name": "kubeflower", "runtime": {"name": "python", "options": options}})
    )
    (folder / "__main__.py").write_text((ROOT / "__main__.py").read_text())
    variables = {"KUBECONFIG": str(folder / "none"), "KUBEFLOWER_KEY_ROOT_FILE": "", "PYTHONPATH": str(ROOT)}
    made = Engine(folder, {**pulumi_environment(paths), **variables})
    done = made.pulumi("stack", "init")
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_the_engine_reads_in_its_own_way_is_refused(engine: Engine, case: tuple[str, Any]) -> None:
    added, wanted = case
    file = engine.file(added)
    seen = engine.config()
    if wanted is None:
        assert seen is None
    else:
        assert seen is not None
        for key, value in wanted.items():
            assert seen[key] == value if isinstance(value, str) else json.loads(seen[key]) == value
        with pytest.raises(SpecError):  # the program, beside the engine
            stackfile.same(seen, file)
    with pytest.raises(SpecError):  # and the renderer, without one
        stackfile.read("lab", engine.folder)


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
def test_what_is_read_is_what_the_engine_reads(engine: Engine, case: tuple[str, Any]) -> None:
    text, wanted = case
    file = engine.file(f"  kubeflower:storage: {text}\n")
    seen = engine.config()
    assert seen is not None
    assert json.loads(seen["kubeflower:storage"]) == wanted
    stackfile.same(seen, file)


@pytest.mark.parametrize("stack", ["lab", "cloud-edge"])
def test_the_projects_own_files_are_the_same_to_both(engine: Engine, stack: str) -> None:
    (path := stackfile.where("lab", engine.folder)).write_text((ROOT / f"Pulumi.{stack}.yaml").read_text())
    seen = engine.config()
    assert seen is not None
    stackfile.same(seen, path)


def test_a_preview_refuses_what_the_renderer_refuses_and_what_is_set_elsewhere(engine: Engine) -> None:
    engine.file("  storage: {raw: 1}\n")
    done = engine.pulumi("preview")
    assert done.returncode == 1
    assert "Pulumi.lab.yaml:3: storage: has no namespace" in done.stdout + done.stderr

    other = engine.file("  kubeflower:storage: {raw: 1}\n").rename(engine.folder / "other.yaml")
    engine.file("")
    done = engine.pulumi("preview", "--config-file", str(other))
    assert done.returncode == 1
    assert "kubeflower:storage: the engine was given something else" in done.stdout + done.stderr

    named = Engine(engine.folder, {**engine.environment, stackfile.ENVIRONMENT: str(other)})
    done = named.pulumi("preview", "--config-file", str(other))
    assert done.returncode == 0, done.stdout + done.stderr
