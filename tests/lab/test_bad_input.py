"""Bad configurations through the command a person runs: one clear message, exit code 1, nothing started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import lifecycle, up
from lab.cli import main
from lab.paths import REPOSITORY, Paths

Change = Callable[[dict[str, Any]], object]


def _first(config: dict[str, Any]) -> dict[str, Any]:
    return dict(config["kubeflower:clients"]["list"][0])


CASES: dict[str, tuple[Change, str]] = {
    "unknown key": (lambda c: c["kubeflower:privacy"].update(epsilom=1), "kubeflower:privacy.epsilom: unknown key"),
    "unknown section": (lambda c: c.update({"kubeflower:sever": {}}), "kubeflower:sever: unknown key"),
    "duplicate id": (lambda c: c["kubeflower:clients"]["list"].append(_first(c) | {"slot": 4}), "'e1' 2 times"),
    "beyond capacity": (
        lambda c: c["kubeflower:clients"]["list"].append(_first(c) | {"id": "e9", "slot": 9}),
        "client 'e9' on slot 9",
    ),
    "overlapping networks": (
        lambda c: c.update({"kubeflower:network": {"server": "10.64.0.0/24"}}),
        "kubeflower:network.server: 10.64.0.0/24",
    ),
    "too small a network": (lambda c: c.update({"kubeflower:network": {"clients": "10.64.0.0/28"}}), "4 are needed"),
    "a GPU nobody has": (
        lambda c: c["kubeflower:clients"]["resources"].update(gpu=1),
        "kubeflower:clients.resources.gpu: 1 GPUs",
    ),
    "memory nobody has": (
        lambda c: c["kubeflower:clients"]["resources"].update(memory=99999),
        "kubeflower:clients.resources.memory",
    ),
    "epsilon zero": (lambda c: c["kubeflower:privacy"].update(epsilon=0), "kubeflower:privacy.epsilon: 0"),
    "epsilon no number": (lambda c: c["kubeflower:privacy"].update(epsilon="much"), "kubeflower:privacy.epsilon"),
    "unknown node": (
        lambda c: c["kubeflower:clients"]["list"][0].update(node="E7"),
        "no such node; nodes are C1, C2, E1, E2, E3, E4",
    ),
}


@pytest.mark.parametrize("command", ["up", "preview"])
@pytest.mark.parametrize("case", CASES)
def test_bad_configuration_is_named_before_anything_starts(
    case: str,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change, message = CASES[case]
    document = yaml.safe_load((REPOSITORY / "Pulumi.lab.yaml").read_text())
    change(document["config"])
    (tmp_path / "Pulumi.bad.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setattr(up, "REPOSITORY", tmp_path)
    monkeypatch.setenv("KUBEFLOWER_LAB", str(tmp_path / "lab"))

    assert main([command, "--stack", "bad"]) == 1

    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("command", ["up", "preview"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("privacy-budget: {budgte: 0.7}", "privacy-budget.budgte: unknown key"),
        ("privacy-budget: [", "not YAML: "),
        ("[]", "must map a rule's name to its settings"),
    ],
)
def test_a_bad_configuration_of_the_policies_is_named_before_anything_starts(
    command: str, text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "policies.yaml").write_text(text)
    monkeypatch.setenv("KUBEFLOWER_LAB", str(tmp_path / "lab"))
    done = subprocess.run(
        [sys.executable, "-m", "lab.cli", command, "--policy-config", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "lab").exists()


def test_an_unknown_stack_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", "--stack", "nowhere"]) == 1
    assert "cloud-edge, lab" in capsys.readouterr().err


def test_the_installed_command_exits_with_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.cli", "up", "--stack", "nowhere"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["env"], ["kubeconfig"], ["logs", "a/b"], ["exec", "a/b", "--", "true"]])
def test_commands_without_a_lab_say_so(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBEFLOWER_LAB", str(tmp_path / "none"))
    assert main(command) == 1
    assert capsys.readouterr().err.startswith(f"lab {command[0]}: ")
    assert not (tmp_path / "none").exists()


def test_status_of_no_lab_has_a_code_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEFLOWER_LAB", str(tmp_path / "none"))
    assert main(["status"]) == 3


def test_purge_wants_to_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "lab"
    ledger = Paths(root).on_disk("E1", "/var/lib/kubeflower/lab/e1/raw/ledger/spent")
    ledger.parent.mkdir(parents=True)
    ledger.write_text("0.7")
    monkeypatch.setenv("KUBEFLOWER_LAB", str(root))
    assert main(["purge"]) == 1
    assert ledger.read_text() == "0.7"
    assert main(["down"]) == 0
    assert ledger.read_text() == "0.7"
    assert main(["purge", "--yes"]) == 0
    assert not root.exists()
    assert lifecycle.running(Paths(root)) is False
