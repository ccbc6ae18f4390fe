"""A control plane for the whole session, and Pulumi projects that run on it."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab import controlplane
from lab.api import Api
from lab.paths import Paths
from lab.plugins.install import prepare_home
from lab.tools import tool

PREAMBLE = "import pulumi\nimport pulumi_kubernetes as k8s\n"


@dataclass
class Project:
    """A Pulumi project with one stack, in a folder of its own."""

    folder: Path
    pulumi: Path
    environment: dict[str, str]
    output: str = field(default="", repr=False)

    def program(self, text: str) -> None:
        """Makes ``text`` the project's program."""
        (self.folder / "__main__.py").write_text(PREAMBLE + textwrap.dedent(text))

    def run(self, *arguments: str, ok: bool = True, env: Mapping[str, str] | None = None, timeout: float = 120) -> str:
        """Runs ``pulumi`` and returns what it printed; fails the test where its success is not the expected one."""
        result = subprocess.run(
            [str(self.pulumi), *arguments, "--stack", "test", "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        self.output = result.stdout
        assert (result.returncode == 0) == ok, f"pulumi {' '.join(arguments)}:\n{result.stdout}"
        assert "Traceback" not in result.stdout or "unhandled exception" in result.stdout, result.stdout
        return result.stdout

    def up(self, *arguments: str, ok: bool = True, env: Mapping[str, str] | None = None) -> str:
        """Updates the stack without a preview."""
        return self.run("up", "--yes", "--skip-preview", *arguments, ok=ok, env=env)

    def preview(self, *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """Previews the stack: for each resource's name the step that changes it."""
        text = self.run("preview", "--json", *arguments, env=env)
        steps = json.loads(text[text.index("{") :])["steps"]
        return {step["urn"].rpartition("::")[2]: step for step in steps if step["op"] != "same"}

    def outputs(self) -> dict[str, Any]:
        """The outputs of the stack, secrets in plain text."""
        result = subprocess.run(
            [str(self.pulumi), "stack", "output", "--json", "--show-secrets", "--stack", "test"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        return dict(json.loads(result.stdout))

    def state(self, name: str) -> dict[str, Any]:
        """A resource as the stack's state has it."""
        text = self.run("stack", "export")
        resources = json.loads(text)["deployment"]["resources"]
        return dict(next(found for found in resources if found["urn"].endswith(f"::{name}")))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    with controlplane.start(Paths(tmp_path_factory.mktemp("plane"))) as paths:
        yield paths


@pytest.fixture(scope="session")
def cluster(control_plane: Paths) -> Api:
    return Api(control_plane)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pulumi-home")
    prepare_home(folder, tool("pulumi"))
    return folder


@pytest.fixture
def project(tmp_path: Path, home: Path, control_plane: Paths) -> Project:
    """A project on the session's control plane."""
    folder, backend = tmp_path / "project", tmp_path / "backend"
    folder.mkdir()
    backend.mkdir()
    (folder / "Pulumi.yaml").write_text("name: probe\nruntime: python\n")
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in os.environ}
    environment = {
        **kept,
        "KUBECONFIG": str(control_plane.kubeconfig),
        "PULUMI_BACKEND_URL": f"file://{backend}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    made = Project(folder, tool("pulumi"), environment)
    subprocess.run(
        [str(made.pulumi), "stack", "init", "test"], cwd=folder, env=environment, check=True, capture_output=True
    )
    return made
