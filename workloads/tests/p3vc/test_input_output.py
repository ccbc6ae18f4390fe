"""Two claims and one output folder."""

from __future__ import annotations

import pytest

from p3vc.output import Output
from tests.p3vc.support import Tool


def test_one_release_at_a_time_writes_to_a_folder(tool: Tool) -> None:
    tool.register()
    out = tool.folder / "out"
    with Output(out, (3, 8, 8)):
        before = {file.name: file.stat().st_ino for file in out.iterdir()}
        code, _, err = tool.release("a")
        assert (code, err.count("\n")) == (2, 1)
        assert f"--out {out}: another claim is being released there" in err
        assert {file.name: file.stat().st_ino for file in out.iterdir()} == before
    assert tool.release("a")[0] == 0
    assert sorted(file.name for file in out.iterdir()) == ["images.npy", "labels.npy", "manifest.json"]
    assert tool.run("verify", "--release", str(out))[0] == 0


@pytest.mark.parametrize(("out", "ledger"), [("x", "x"), ("x/out", "x"), ("x", "x/ledger"), ("link/out", "x")])
@pytest.mark.parametrize("command", ["release", "grant"])
def test_the_ledger_is_not_published(tool: Tool, command: str, out: str, ledger: str) -> None:
    tool.ledger = tool.folder / ledger
    tool.register("--delta", "1e-5")
    (tool.folder / "link").symlink_to("x")
    before = sorted(tool.folder.rglob("*"))
    if command == "release":
        code, _, err = tool.release("a", "0.7", out)
    else:
        where = ("--data", str(tool.data), "--out", str(tool.folder / out), "--ledger", str(tool.ledger))
        what = ("--claim", "a", "--grant", "0123456789ab", "--epsilon", "1", "--delta", "1e-6", "--rounds", "3")
        code, _, err = tool.run("grant", *where, *what, "--clipping-norm", "1")
    assert (code, err.count("\n")) == (2, 1)
    assert f"--out {tool.folder / out}: must lie apart from --ledger {tool.ledger}" in err
    assert sorted(tool.folder.rglob("*")) == before
