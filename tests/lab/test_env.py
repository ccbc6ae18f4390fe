from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import env
from lab.engine import Engine
from lab.errors import LabError
from lab.paths import REPOSITORY, Paths

pytestmark = pytest.mark.engine


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A lab that looks started."""
    found = Paths(tmp_path / "it's a lab")  # a name that a shell would trip over
    found.root.mkdir()
    found.kubeconfig.write_text("{}")
    return found


def test_the_printed_lines_make_plain_pulumi_work(paths: Paths) -> None:
    lines = env.exports(env.environment(paths))
    script = f"{lines}\npulumi version && command -v pulumi kubectl && pulumi stack ls --json && echo $KUBECONFIG"
    done = subprocess.run(["bash", "-euc", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    version, pulumi, kubectl, stacks, kubeconfig = done.stdout.splitlines()
    assert version == "v3.259.0"
    assert (pulumi, kubectl) == (f"{paths.bin}/pulumi", f"{paths.bin}/kubectl")
    assert json.loads(stacks) == []
    assert kubeconfig == str(paths.kubeconfig)


def test_the_engine_works_and_leaves_no_log(paths: Paths) -> None:
    older = paths.root / "pulumi-home" / "logs"
    older.mkdir(parents=True)
    (older / "pulumi-older.log").write_text("of a version that kept logs")
    variables = env.environment(paths)
    done = subprocess.run(
        ["pulumi", "stack", "ls", "--json"],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert [found for found in paths.root.rglob("*.log*") if found.is_file()] == []
    assert (older.is_file(), older.read_text()) == (True, "")


def test_twice_is_as_once(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    first = env.environment(paths)
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert env.environment(paths) == first
    assert (paths.bin / "pulumi").resolve().name == "pulumi"


def test_the_key_root_is_made_once_and_for_its_owner_alone(paths: Paths) -> None:
    path = env.key_root(paths)
    assert len(bytes.fromhex(path.read_text())) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    assert env.key_root(paths).read_text() == before


def _locked(paths: Paths, pid: int) -> Engine:
    engine = Engine("lab", env.environment(paths))
    engine.init()
    lock = paths.backend / ".pulumi" / "locks" / "organization" / "kubeflower" / "lab" / "x.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({"pid": pid, "username": "root", "hostname": socket.gethostname()}))
    return engine


def test_a_lock_of_a_dead_update_is_released(paths: Paths) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    _locked(paths, gone.pid).unlock(paths.backend)
    assert list((paths.backend / ".pulumi" / "locks").rglob("*.json")) == []


def test_a_lock_of_a_running_update_is_respected(paths: Paths) -> None:
    engine = _locked(paths, os.getpid())
    with pytest.raises(LabError, match=rf"another update of stack lab is running \(process {os.getpid()}\)"):
        engine.unlock(paths.backend)
    assert len(list((paths.backend / ".pulumi" / "locks").rglob("*.json"))) == 1


def test_pulumi_has_no_reason_to_write_into_the_stack_file(paths: Paths) -> None:
    before = (REPOSITORY / "Pulumi.lab.yaml").read_bytes()
    assert Engine("lab", env.environment(paths)).init() is True
    assert (REPOSITORY / "Pulumi.lab.yaml").read_bytes() == before


def _state(paths: Paths, *outputs: dict[str, Any]) -> None:
    """A stack that holds a provider and one object for each of the outputs."""
    resources = [{"type": "pulumi:providers:kubernetes", "outputs": {"version": "4.34.2"}}]
    resources += [{"type": "kubernetes:core/v1:ConfigMap", "outputs": found} for found in outputs]
    file = paths.backend / ".pulumi" / "stacks" / "kubeflower" / "lab.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"resources": resources}}}))


OBJECT = {  # as the stand-in kept one
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "ca"},
    "data": {"ca.crt": "-"},
    "__fieldManager": "pulumi-kubernetes-0123abcd",
    "__initialApiVersion": "v1",
}


def test_a_stack_of_the_former_stand_in_is_refused_in_one_sentence_with_how_to_move(paths: Paths) -> None:
    _state(paths, OBJECT, OBJECT)
    with pytest.raises(LabError) as refused:
        env.environment(paths)
    text = str(refused.value)
    assert text.startswith("stack lab was made by the stand-in of an earlier version")
    assert "run `make down`, then `make up`; raw data, privacy ledgers and keys stay" in text
    assert "\n" not in text


@pytest.mark.parametrize("outputs", [(), ({},), ({**OBJECT, "__inputs": {}},)])
def test_a_stack_of_pulumis_own_provider_and_an_empty_one_are_not(paths: Paths, outputs: tuple[Any, ...]) -> None:
    _state(paths, *outputs)
    env.environment(paths)
