from __future__ import annotations

import time
from typing import Any

import pytest

from lab.events import SILENCE, SLOW, Narrator

URN = "urn:pulumi:lab::kubeflower::kubeflower:index:Client$kubernetes:batch/v1:Job::lab-run"


def _step(kind: str, op: str = "create", **more: Any) -> dict[str, Any]:
    state = {"urn": URN, "type": "kubernetes:batch/v1:Job", "custom": True}
    meta = {"op": op, "urn": URN, "type": state["type"], "old": None, "new": state, "logical": True}
    return {kind: {"metadata": meta, **more}}


def _diagnostic(severity: str, message: str, **more: Any) -> dict[str, Any]:
    return {"diagnosticEvent": {"severity": severity, "message": message, **more}}


def test_only_slow_resources_are_worth_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrator, now = Narrator("up"), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    narrator.tell(_step("resourcePreEvent"))
    narrator.tell(_step("resOutputsEvent"))
    assert capsys.readouterr().out == ""
    narrator.tell(_step("resourcePreEvent"))
    monkeypatch.setattr(time, "monotonic", lambda: now + 2 * SLOW)
    narrator.tell(_step("resOutputsEvent"))
    assert "created Job lab-run in 2.0 s" in capsys.readouterr().out


def test_a_long_wait_says_what_for(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator("up")
    narrator.tell(_step("resourcePreEvent"))
    narrator.tell(_diagnostic("info", "waiting for its pod", urn=URN))
    assert capsys.readouterr().out == ""
    narrator.pulse(time.monotonic() + SILENCE + 1)
    assert "0 done, waiting for its pod (11 s)" in capsys.readouterr().out


def test_what_is_not_ready_yet_is_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator("up")
    narrator.tell(_step("resourcePreEvent"))
    narrator.tell(_diagnostic("warning", "[Pod a/b]: containers with unready status: [c]", urn=URN, ephemeral=True))
    assert capsys.readouterr().out == ""
    narrator.pulse(time.monotonic() + SILENCE + 1)
    assert "[Pod a/b]: containers with unready status: [c] (11 s)" in capsys.readouterr().out
    narrator.tell(_diagnostic("warning", "Pending operations", urn=URN))
    assert "warning: Job lab-run: Pending operations" in capsys.readouterr().out


def test_a_mandatory_violation_and_an_error_are_problems_once() -> None:
    narrator = Narrator("up")
    violation = {"policyName": "privacy-budget", "enforcementLevel": "mandatory", "message": "1.4 of 0.7"}
    for _ in range(2):
        narrator.tell({"policyEvent": violation})
        narrator.tell(_diagnostic("error", "no such node", urn=URN))
    narrator.tell(_diagnostic("error", "preview failed"))
    narrator.finish(255)
    assert not narrator.ok
    assert narrator.problems == ["policy privacy-budget (mandatory): 1.4 of 0.7", "Job lab-run: no such node"]


def test_a_failure_without_events_keeps_the_commands_words() -> None:
    narrator = Narrator("up")
    narrator.raw = "noise\nDiagnostics:\n  error: the backend is away\n"
    narrator.finish(1)
    assert narrator.problems == ["error: the backend is away"]


def test_resources_that_stay_are_no_change() -> None:
    narrator = Narrator("preview")
    narrator.tell({"summaryEvent": {"isPreview": True, "resourceChanges": {"same": 99}}})
    assert not narrator.changes
    narrator.tell({"summaryEvent": {"isPreview": True, "resourceChanges": {"same": 98, "replace": 1}}})
    assert narrator.changes == {"replace": 1}
