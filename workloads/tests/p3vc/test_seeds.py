"""The seed of a release under way: where it lies, who may find it there, and that it is used once more at most."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from p3vc import release
from p3vc.ledger import Ledger
from tests.p3vc.support import Tool


class KilledError(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def interrupt(tool: Tool, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """Leave a claim committed and its output half made."""
    with monkeypatch.context() as patch:
        patch.setattr(release, "_write", lambda *_, **__: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            tool.release("a", "0.7", "out", *more)
    assert tool.state()["claims"]["a"]["status"] == "committed"


def test_a_seed_lies_beside_the_ledger_and_backups_leave_it_out(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.register()
    interrupt(tool, monkeypatch)
    (seed,) = tool.seeds()
    assert seed.parent == tool.folder / "ledger.seeds"
    assert (seed.stat().st_mode & 0o777, seed.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert (seed.parent / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    held = [file.read_bytes() for file in tool.ledger.rglob("*") if file.is_file()]
    assert not any(seed.read_bytes() in one for one in held)
    assert tool.release("a")[0] == 0
    assert tool.seeds() == []
    assert tool.state()["spent"] == "0.7"


def test_a_seed_lies_where_it_is_told_to_and_is_found_there_only(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.register()
    where = ("--seeds", str(tool.folder / "deep" / "seeds"))
    interrupt(tool, monkeypatch, *where)
    assert tool.seeds() == []
    code, _, err = tool.release("a")
    assert (code, "--seeds" in err, f"{tool.ledger}.seeds has none" in err) == (3, True, True)
    assert tool.release("a", "0.7", "out", *where)[0] == 0
    assert [file.name for file in (tool.folder / "deep" / "seeds").iterdir()] == ["CACHEDIR.TAG"]


def test_a_link_to_a_ledger_keeps_seeds_beside_the_ledger_itself(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.register()
    (tool.folder / "links").mkdir()
    real, link = tool.ledger, tool.folder / "links" / "ledger"
    link.symlink_to(real)
    tool.ledger = link
    interrupt(tool, monkeypatch)
    assert len(list((tool.folder / "ledger.seeds").iterdir())) == 2
    tool.ledger = real
    assert tool.release("a")[0] == 0


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs a place that cannot be written"
)
def test_where_no_seed_can_be_kept_nothing_is_charged(tool: Tool) -> None:
    tool.register()
    code, _, err = tool.release("a", "0.7", "out", "--seeds", "/proc/self/seeds")
    assert (code, "--seeds /proc/self/seeds: cannot be written" in err) == (2, True)
    assert tool.state()["claims"] == {}
    assert not (tool.folder / "out").exists()


def test_ledgers_with_one_folder_of_seeds_do_not_meet(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    where, ledgers = ("--seeds", str(tool.folder / "seeds")), [tool.ledger, tool.folder / "ledger-2"]
    for ledger in ledgers:
        tool.ledger = ledger
        tool.register()
        interrupt(tool, monkeypatch, *where)
    assert len(list((tool.folder / "seeds").iterdir())) == 3
    for number, ledger in enumerate(ledgers):
        tool.ledger = ledger
        shutil.rmtree(tool.folder / "out", ignore_errors=True)
        assert tool.release("a", "0.7", "out", *where)[0] == 0
        assert len(list((tool.folder / "seeds").iterdir())) == 2 - number


def into_the_ledger(tool: Tool) -> Path:
    """Put the one seed where versions before this one kept it."""
    (seed,) = tool.seeds()
    old = tool.ledger / "seeds" / hashlib.sha256(b"a").hexdigest()[:32]
    old.parent.mkdir(mode=0o700)
    seed.rename(old)
    return old


def test_a_seed_that_an_earlier_version_kept_is_used_once_more(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.register()
    interrupt(tool, monkeypatch)
    seed = into_the_ledger(tool).read_bytes()
    assert tool.release("a")[0] == 0
    assert tool.manifest()["seed_sha256"] == hashlib.sha256(seed).hexdigest()
    assert tool.seeds() == []
    assert tool.state()["spent"] == "0.7"


@pytest.mark.parametrize("old", [True, False])
def test_a_seed_that_a_crash_left_beside_a_whole_release_goes_at_the_next_start(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, *, old: bool
) -> None:
    tool.register()
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_destroy_seed", lambda *_: (_ for _ in ()).throw(KilledError))
        with pytest.raises(KilledError):
            tool.release("a")
    if old:
        into_the_ledger(tool)
    assert len(tool.seeds()) == 1
    assert tool.register()[0] == 0
    assert tool.seeds() == []
