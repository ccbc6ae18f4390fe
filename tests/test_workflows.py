"""The GitHub workflows: well-formed, and made of commands that exist and do what the steps need."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.tools import tool
from testbed.cli import parser

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _steps(name: str) -> list[dict[str, Any]]:
    text = (ROOT / ".github" / "workflows" / name).read_text()
    return [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]


def test_actionlint_finds_nothing() -> None:
    done = subprocess.run([tool("actionlint"), *WORKFLOWS], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


def test_every_testbed_command_of_a_workflow_parses() -> None:
    commands = [
        line.split("uv run testbed ")[1].split(">")[0].split()
        for step in _steps("preview.yml")
        for line in step.get("run", "").splitlines()
        if "uv run testbed " in line
    ]
    assert {c[0] for c in commands} == {"report", "comment"}
    for command in commands:
        parser().parse_args([re.sub(r'"\$(\w+)"', "1", word) for word in command])


def test_a_preview_uses_no_secret_but_the_comments_token() -> None:
    text = (ROOT / ".github" / "workflows" / "preview.yml").read_text()
    assert set(re.findall(r"secrets\.(\w+)", text)) == {"GITHUB_TOKEN"}
    assert "pull_request_target" not in text  # would hand a fork's code a token that may write


def test_a_preview_is_gated_by_the_engine_and_reported_even_when_refused() -> None:
    steps = _steps("preview.yml")
    gate = next(i for i, s in enumerate(steps) if "lab preview" in s.get("run", ""))
    assert "if" not in steps[gate]
    assert "continue-on-error" not in steps[gate]
    assert all(s.get("if", "").startswith("always()") for s in steps[gate + 1 :])


@pytest.mark.parametrize("stack", ["lab", "no-such-stack"])
def test_the_base_side_renders_or_is_empty(stack: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "render-base", ROOT, stack], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    objects = [o for o in yaml.safe_load_all(done.stdout) if o]
    assert bool(objects) == (stack == "lab")


def test_both_sides_make_a_report(tmp_path: Path) -> None:
    rendered = subprocess.run(
        [sys.executable, "-m", "components.render", "lab"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    (tmp_path / "head.yaml").write_text(rendered)
    (tmp_path / "base.yaml").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "testbed.cli", "report", "--stack", "lab", "base.yaml", "head.yaml"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "no violation" in done.stdout
