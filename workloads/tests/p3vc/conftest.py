from __future__ import annotations

from pathlib import Path

import pytest

from p3vc import pipeline
from tests.p3vc.support import Tool, save


@pytest.fixture
def tool(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    # A slow machine would show lines of progress, where tests compare all of standard error.
    monkeypatch.setattr(pipeline, "_QUIET_SECONDS", float("inf"))
    made = Tool(tmp_path, capsys)
    save(made.data)
    return made
