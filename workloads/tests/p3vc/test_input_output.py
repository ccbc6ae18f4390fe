"""The folder a release is written to: two claims, and a disk that fails."""

from __future__ import annotations

import errno
import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p3vc import output as outputs
from p3vc.output import Output, verify
from tests.p3vc.support import Tool, images


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


@settings(max_examples=25)
@given(st.lists(st.integers(0, 30), max_size=12))
def test_rows_of_any_count_digest_as_the_blocks_that_they_fill(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int]
) -> None:
    folder, shape = tmp_path_factory.mktemp("out"), (1, 300, 300)  # eleven records a block
    with Output(folder, shape) as output:
        for count in counts:
            output.append(images(count, shape), np.arange(count))
        output.publish({"claim": "a", "statement": ""})
    manifest, _ = verify(folder)
    assert manifest["arrays"]["images"]["shape"] == [sum(counts), *shape]
    assert manifest["arrays"]["images"]["block_bytes"] == 11 * 300 * 300


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_the_disk_could_not_take_is_not_published(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    """The system tells of a lost write once, to whoever syncs next: here the thread that syncs behind."""
    np.savez(tool.data, images=images(8000, (3, 32, 32)), labels=np.arange(8000) % 5)
    tool.register()

    def lost(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def slowly(self: Output, *args: object) -> None:
        extend(self, *args)  # type: ignore[arg-type]
        time.sleep(0.001)

    extend = Output.extend
    monkeypatch.setattr(outputs, "_SYNC_SECONDS", 0.0)
    monkeypatch.setattr(Output, "extend", slowly)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", lost)
        code, _, err = tool.release("a", "0.7", "out", "--workers", workers)
    assert (code, err) == (2, "p3vc: Input/output error\n")
    assert not list((tool.folder / "out").iterdir())
    assert tool.state()["spent"] == "0.7"
    assert tool.release("a", "0.7", "out", "--workers", workers)[0] == 0
    assert tool.state()["spent"] == "0.7"
