"""The comment of a pull request, on the stacks of this project and on changes that must stand out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import cli
from testbed.reader import read
from testbed.report import findings, pull_request
from testbed.rules.context import Context
from tests.components.rendering import render, spec


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return render(spec("lab"))


def _write(path: Path, manifests: list[dict[str, Any]]) -> str:
    path.write_text(yaml.safe_dump_all(manifests))
    return str(path)


def _report(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = cli.main(["report", "--stack", "lab", *argv])
    return code, capsys.readouterr().out


def test_an_unchanged_environment_says_so(
    tmp_path: Path, manifests: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    same = _write(tmp_path / "a.yaml", manifests)
    code, text = _report(capsys, same, same)
    assert code == cli.OK
    assert text.startswith(pull_request.marker("lab"))
    assert "no violation" in text
    assert "No path, epsilon or network changes." in text
    assert "### What changes\n\nNothing." in text


def test_a_new_environment_shows_everything(
    tmp_path: Path, manifests: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    empty, head = _write(tmp_path / "base.yaml", []), _write(tmp_path / "head.yaml", manifests)
    code, text = _report(capsys, empty, head)
    assert code == cli.OK
    assert "| digits | 0 | 0.7 | 0.7 |" in text  # epsilon: base, head, change
    assert "| e1 | — | · | · |" in text  # isolation matrix
    assert "| digits | 0.7 | 0.7 | 0 | laplace |" in text  # budget
    assert "flowchart LR" in text
    assert "([server])" in text


def test_a_path_between_clients_is_refused_and_drawn(
    tmp_path: Path, manifests: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    head = [m for m in copy.deepcopy(manifests) if m["kind"] != "NetworkPolicy"]
    subnets = {m["metadata"]["name"]: m for m in head if m["kind"] == "Subnet"}
    victim, stranger = subnets["lab-net-s001"], subnets["lab-net-s002"]
    for one in head:  # client e3's pods are moved into e1's subnet
        annotations = one.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
        if annotations.get("ovn.kubernetes.io/logical_switch") == stranger["metadata"]["name"]:
            annotations["ovn.kubernetes.io/logical_switch"] = victim["metadata"]["name"]
            annotations.pop("ovn.kubernetes.io/ip_address", None)
    code, text = _report(capsys, _write(tmp_path / "a.yaml", manifests), _write(tmp_path / "b.yaml", head))
    assert code == cli.VIOLATIONS
    assert "refused" in text
    assert "no-cross-client-route" in text
    assert "| e1 | — | **direct** | · |" in text
    assert "-. reaches .->" in text
    assert "| added |" in text  # the path, against the base branch


def test_a_long_comment_is_cut_before_github_refuses_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pull_request, "LIMIT", 200)
    context = Context(read([_write(tmp_path / "a.yaml", render(spec("lab")))]))
    text = pull_request.comment("lab", context, context, findings.find(context))
    assert len(text) < 300
    assert "testbed check" in text
