"""The pack under the real engine: the clean testbed passes, and one mistake for each rule is refused at preview."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.env import pulumi_environment
from lab.paths import REPOSITORY, Paths

pytestmark = pytest.mark.engine

PROGRAM = """
import pathlib
import pulumi
import pulumi_kubernetes as k8s
from pulumi_kubernetes.apiextensions import CustomResource
from components.testbed import Testbed
from testbed import stackfile

spec = stackfile.read("lab", pathlib.Path({root!r}))
testbed = Testbed("lab", spec, root=bytes(32))
later = pulumi.ResourceOptions(depends_on=[testbed])


def pod(annotations=None, **spec):
    body = {{"containers": [{{"name": "x", "image": "y"}}], **spec}}
    k8s.core.v1.Pod(
        "mistake", metadata={{"name": "mistake", "namespace": "lab-client-e1", "annotations": annotations or {{}}}},
        spec=body, opts=later,
    )


{mistake}
"""
MISTAKES = {
    "no-cross-client-route": 'pod({"ovn.kubernetes.io/logical_switch": "lab-net-s002"})',
    "p3vc-only": 'pod(volumes=[{"name": "r", "persistentVolumeClaim": {"claimName": "raw"}}], '
    'containers=[{"name": "x", "image": "y", "volumeMounts": [{"name": "r", "mountPath": "/raw"}]}])',
    "hardened-pods": "pod(hostNetwork=True)",
    "fail-closed": 'first = k8s.core.v1.ConfigMap("first", metadata={"namespace": "default"})\n'
    'CustomResource("mistake", api_version="kubeovn.io/v1", kind="Subnet", metadata={"name": "odd"}, '
    'spec={"cidrBlock": "10.99.0.0/24", "allowSubnets": [first.id]})',
}


@dataclass(frozen=True)
class Stack:
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

    def preview(self, mistake: str = "", *options: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "__main__.py").write_text(PROGRAM.format(root=str(REPOSITORY), mistake=mistake))
        return self.pulumi("preview", "--policy-pack", str(REPOSITORY / "policies"), *options)

    def resources(self) -> list[object]:
        done = self.pulumi("stack", "export")
        found = json.loads(done.stdout)["deployment"].get("resources") or []
        return list(found)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("program")
    paths = Paths(tmp_path_factory.mktemp("engine"))
    options = {"virtualenv": str(REPOSITORY / ".venv")}
    settings = {"name": "probe", "runtime": {"name": "python", "options": options}}
    (folder / "Pulumi.yaml").write_text(json.dumps(settings))
    made = Stack(folder, {**pulumi_environment(paths), "KUBECONFIG": str(paths.root / "none")})
    done = made.pulumi("stack", "init")
    assert done.returncode == 0, done.stderr
    yield made


def test_the_clean_testbed_passes(stack: Stack) -> None:
    done = stack.preview()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "to create" in done.stdout
    assert "mandatory" not in done.stdout
    assert "advisory" not in done.stdout


@pytest.mark.parametrize("rule", MISTAKES)
def test_a_mistake_is_refused_and_nothing_created(stack: Stack, rule: str) -> None:
    done = stack.preview(MISTAKES[rule])
    report = done.stdout + done.stderr
    assert done.returncode == 1, report
    assert f"[mandatory]  {rule}" in report, report
    assert "mistake" in report or "odd" in report
    assert stack.resources() == []


def test_the_cap_comes_from_the_policy_and_not_from_the_stack(stack: Stack, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"privacy-budget": {"budget": "0.5"}}))
    done = stack.preview("", "--policy-pack-config", str(config))
    assert done.returncode == 1
    assert "[mandatory]  privacy-budget" in done.stdout
    assert "0.7 of 0.5" in done.stdout
    assert stack.resources() == []
