"""A whole stack through engine, API server, scheduler and controllers; only kubelets are stood in for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from components.render import ROOT, render
from lab import controlplane
from lab.api import Api
from lab.paths import Paths
from lab.plugins.install import prepare_home
from lab.tools import tool
from testbed import contract as c
from testbed.spec import Testbed
from testbed.stackfile import build
from tests.components import rendering
from tests.components.kubelet import Kubelets
from tests.components.rendering import config

pytestmark = pytest.mark.engine

PATHS = {  # of what a bound claim takes
    "Namespace": "/api/v1/namespaces",
    "StorageClass": "/apis/storage.k8s.io/v1/storageclasses",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
}


def record(role: str, annotations: dict[str, str]) -> dict[str, Any]:
    if role == c.ROLE_P3VC:
        return {"claim": annotations[c.ANNOTATION_CLAIM], "remaining": "0.1", "client_records": 449}
    return {"rounds": [{"round": 1, "loss": 2.0, "accuracy": 0.5}], "model": "sha256:0", "clients": ["e1", "e3", "e4"]}


@dataclass
class Stack:
    """A stack of this project's program, in a folder of its own."""

    folder: Path
    environment: dict[str, str]

    def configure(self, **changes: Any) -> None:
        file = self.folder / "Pulumi.lab.yaml"
        kept = yaml.safe_load(file.read_text()) if file.exists() else {}
        file.write_text(yaml.safe_dump({**kept, "config": config("lab", **changes)}))

    def pulumi(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(tool("pulumi")), *arguments, "--stack", "lab", "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def up(self) -> str:
        return self.pulumi("up", "--yes", "--skip-preview")

    def changes(self) -> dict[str, str]:
        """Step by resource name of a preview, without what stays."""
        text = self.pulumi("preview", "--json")
        steps = json.loads(text[text.index("{") :])["steps"]
        return {s["urn"].rpartition("$")[2]: s["op"] for s in steps if s["op"] != "same"}

    def outputs(self) -> dict[str, Any]:
        return dict(json.loads(self.pulumi("stack", "output", "--json")))


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    with controlplane.start(Paths(tmp_path_factory.mktemp("plane"))) as paths:
        yield paths


@pytest.fixture(scope="module")
def stack(plane: Paths, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("pulumi")
    prepare_home(folder / "home", tool("pulumi"))
    (folder / "root").write_text(ROOT.hex())
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in os.environ}
    (folder / "backend").mkdir()
    environment = {
        **kept,
        "KUBECONFIG": str(plane.kubeconfig),
        "KUBEFLOWER_KEY_ROOT_FILE": str(folder / "root"),
        "PULUMI_BACKEND_URL": f"file://{folder / 'backend'}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    project = folder / "project"
    project.mkdir()
    shutil.copy(rendering.ROOT / "__main__.py", project)
    (project / "Pulumi.yaml").write_text("name: kubeflower\nruntime: python\n")
    found = Stack(project, environment)
    found.pulumi("stack", "init")
    found.configure()
    return found


def bind_claims(plane: Paths, spec: Testbed) -> None:
    """Makes the claims before Pulumi does, so that it finds every one bound, as it does by itself on a slow machine.

    Pulumi takes over what is there. It would wait 300 s for each claim that it awaits.
    """
    api, claims = Api(plane), []
    for manifest in render(spec):
        if manifest["kind"] in PATHS:
            namespace = manifest["metadata"].get("namespace")
            path = PATHS[manifest["kind"]].format(namespace=namespace)
            name = api.create(path, manifest)["metadata"]["name"]
            if manifest["kind"] == "PersistentVolumeClaim":
                claims.append(f"{path}/{name}")
    deadline = time.monotonic() + 60
    while any(api.get(claim)["status"]["phase"] != "Bound" for claim in claims):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_testbed_is_made_kept_changed_and_removed(plane: Paths, stack: Stack) -> None:
    core: Any = client.CoreV1Api(controlplane.api(plane))
    spec = build("lab", config("lab"))
    bind_claims(plane, spec)
    with Kubelets(core, spec, record) as kubelets:
        stack.up()
        outputs = stack.outputs()
        assert outputs["clients"]["e3"]["budgetLeft"] == "0.1"
        assert outputs["federation"]["rounds"] == [{"round": 1, "loss": 2.0, "accuracy": 0.5}]
        declared = {m["metadata"]["name"] for m in render(spec) if m["kind"] == "PersistentVolume"}
        volumes = {v.metadata.name: v.status.phase for v in core.list_persistent_volume().items}
        assert volumes == dict.fromkeys(declared, "Bound")
        assert core.read_node("e1").metadata.labels[c.LABEL_NODE_DOMAIN] == "mshed"

        assert stack.changes() == {}

        before = list(kubelets.started)
        stack.configure(
            clients__list=[*config("lab")["kubeflower:clients"]["list"], {"id": "e2", "slot": 4, "node": "E2"}]
        )
        stack.up()
        new = kubelets.started[len(before) :]
        assert {pod.partition("/")[0] for pod in new} == {"lab-client-e2", "lab-server"}
        assert not any(pod == "lab-server/superlink-0" for pod in new)
        assert stack.changes() == {}

        stack.configure()
        stack.up()
        assert "lab-client-e2" not in {n.metadata.name for n in core.list_namespace().items}

        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert core.list_persistent_volume().items == []
        labels = core.read_node("e1").metadata.labels
        assert not any(key.startswith(c.DOMAIN) for key in labels)
        deadline = time.monotonic() + 30
        while any(n.metadata.name.startswith("lab-") for n in core.list_namespace().items):
            assert time.monotonic() < deadline
            time.sleep(0.5)
