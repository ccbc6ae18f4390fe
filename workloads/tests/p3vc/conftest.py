from __future__ import annotations

from pathlib import Path

import pytest

from tests.p3vc.support import Tool, save


@pytest.fixture
def tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    made = Tool(tmp_path, capsys)
    save(made.data)
    return made
