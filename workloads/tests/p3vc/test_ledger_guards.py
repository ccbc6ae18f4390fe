"""What must not give a budget back, repeat noise on other data, or tell of the data by the way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from p3vc.chain import Chain
from p3vc.errors import BadInputError
from p3vc.formats import Npz, open_source
from p3vc.ledger import Ledger
from tests.p3vc.support import Tool, save

PRIVATE = ("--labels", "private", "--label-epsilon", "0.1")


def account(tool: Tool) -> Path:
    (found,) = tool.ledger.glob("*.jsonl")
    return found


def make_old(tool: Tool) -> None:
    """Write the ledger as it was before fingerprints were keyed, the key was checked and declarations were marked."""
    path, chain = account(tool), Chain(account(tool))
    path.unlink()
    path.with_suffix(".head").unlink()
    old = Chain(path)
    for entry in chain.entries:
        kept = {k: v for k, v in entry.items() if k not in ("seq", "prev", "key_check", "classes_declared")}
        old.append({**kept, "fingerprint": open_source(tool.data).fingerprint()} if "fingerprint" in kept else kept)


@pytest.mark.parametrize("name", ["copy of it", "f" * 64])
@pytest.mark.parametrize("head", [False, True])
def test_a_stale_copy_of_an_account_resets_no_budget(tool: Tool, name: str, *, head: bool) -> None:
    tool.register()
    stale = tool.ledger / f"{name}.jsonl"
    shutil.copy(account(tool), tool.folder / stale.name)
    shutil.copy(account(tool).with_suffix(".head"), tool.folder / f"{name}.head")
    tool.release("a", "1.9")
    shutil.copy(tool.folder / stale.name, stale)
    if head:
        shutil.copy(tool.folder / f"{name}.head", stale.with_suffix(".head"))
    code, _, err = tool.release("b", "1.9", "out-b")
    assert code == 2
    assert f"{stale.name}: " in err
    assert "move" in err
    assert not (tool.folder / "out-b").exists()
    for path in tool.ledger.glob(f"{name}.*"):
        path.unlink()
    assert tool.state()["spent"] == "1.9"


@pytest.mark.parametrize("damage", [b"", b"short", bytes(32), bytes(33)])
def test_another_key_gives_no_fresh_budget(tool: Tool, damage: bytes) -> None:
    tool.register()
    tool.release("a", "1.9")
    key = (tool.ledger / "key").read_bytes()
    (tool.ledger / "key").write_bytes(damage)
    shown = tool.run("ledger", "--ledger", str(tool.ledger))
    for code, _, err in (shown, tool.register(), tool.release("b", "1.9", "out-b")):
        assert code == 2
        assert "key" in err
        assert "backup" in err
    (tool.ledger / "key").write_bytes(key)
    assert tool.release("b", "1.9", "out-b")[0] == 3


def test_nothing_that_is_kept_or_published_lets_the_files_be_guessed(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    assert open_source(tool.data).fingerprint() not in account(tool).read_text()
    lines = account(tool).read_bytes().splitlines(keepends=True)
    quoted = tool.manifest()["ledger"]
    assert quoted["seq"] == 3
    assert quoted["head"].startswith("hmac-sha256:")
    hashes = [hashlib.sha256(line).hexdigest() for line in lines]
    assert not any(one in json.dumps(tool.manifest()) for one in hashes)
    assert quoted == {**quoted, **Ledger(tool.ledger).quote(next(iter(Ledger(tool.ledger).accounts().values())), "a")}


def test_an_edit_in_place_is_noticed_though_its_time_is_set_back(tool: Tool) -> None:
    tool.register()
    before = tool.data.stat()
    with tool.data.open("r+b") as file:
        file.write(save(tool.folder / "other.npz", seed=4).read_bytes())
    os.utime(tool.data, ns=(before.st_atime_ns, before.st_mtime_ns))
    code, _, err = tool.release("a")
    assert (code, "not registered" in err) == (2, True)
    assert tool.state()["spent"] == "0"


def test_an_older_ledger_is_read_and_recognises_its_data_anew(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.register()
    tool.release("a")
    make_old(tool)
    assert tool.state()["spent"] == "0.7"
    (tool.folder / "out").rename(tool.folder / "out-a")  # quotes a chain that this test has rewritten
    assert tool.release("b", "0.5", "out-b")[0] == 0
    assert tool.state()["spent"] == "1.2"
    monkeypatch.setattr("p3vc.register._survey", lambda *_: pytest.fail("the data was read again"))
    assert tool.release("c", "0.5", "out-c")[0] == 0
    (tool.ledger / "key").write_bytes(bytes(32))  # an older ledger has a check of its key from then on
    assert "is not the key" in tool.release("d", "0.5", "out-d")[2]


def test_the_noise_of_a_claim_that_met_other_data_is_never_used(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Npz, "fingerprint", lambda _: "untouched")
    tool.register()
    good = tool.data.read_bytes()
    save(tool.data, seed=4)
    code, _, err = tool.release("a")
    assert (code, "new claim id" in err) == (2, True)
    assert tool.seeds() == []
    tool.data.write_bytes(good)
    code, _, err = tool.release("a")
    assert (code, "new claim id" in err) == (3, True)
    assert not (tool.folder / "out" / "images.npy").exists()
    assert tool.state()["spent"] == "0.7"
    assert tool.release("b")[0] == 0


def test_private_labels_need_a_declared_label_set(tool: Tool) -> None:
    tool.register()
    code, _, err = tool.release("a", "0.7", "out", *PRIVATE)
    assert (code, "register with --classes N" in err) == (2, True)
    assert tool.state()["claims"] == {}
    assert tool.release("p", "0.7", "out-p")[0] == 0  # public labels need none
    assert tool.register("--classes", "6")[0] == 2
    assert tool.register("--classes", "5")[0] == 0
    assert [entry["type"] for entry in tool.state()["entries"]].count("declare") == 1
    before = account(tool).read_bytes()
    assert tool.register("--classes", "5")[0] == 0
    assert tool.register()[0] == 0
    assert account(tool).read_bytes() == before
    assert tool.release("a", "0.7", "out", *PRIVATE)[0] == 0


def test_a_label_set_that_private_labels_told_of_is_not_declared_later(tool: Tool) -> None:
    tool.register("--classes", "5")
    tool.release("a", "0.7", "out", *PRIVATE)
    make_old(tool)
    assert tool.register("--classes", "5")[0] == 0
    (tool.folder / "out").rename(tool.folder / "out-a")
    code, _, err = tool.release("b", "0.7", "out-b", *PRIVATE)
    assert (code, "claim a released private labels" in err) == (2, True)
    assert tool.release("b", "0.7", "out-b")[0] == 0


def test_a_chain_of_several_lines_needs_its_head(tool: Tool) -> None:
    tool.register()
    account(tool).with_suffix(".head").unlink()
    assert tool.state()["spent"] == "0"  # one line: a crash came before the head was written
    assert tool.release("a")[0] == 0
    account(tool).with_suffix(".head").unlink()
    code, _, err = tool.release("b", "0.7", "out-b")
    assert (code, "lost its head" in err) == (2, True)
    assert "forgets what was spent" in err


def test_two_crashes_in_a_row_lose_no_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, head = tmp_path / "x.jsonl", tmp_path / "x.head"
    Chain(path).append({"type": "one"})
    head.unlink()
    real = os.replace

    def crash(source: Path, target: Path) -> None:
        if b'"two"' in path.read_bytes():
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        Chain(path).append({"type": "two"})
    assert [entry["type"] for entry in Chain(path).entries] == ["one", "two"]


@pytest.mark.parametrize("head", [b"", b"\xff\xfe\n", "² 00\n".encode(), b"1\n", b"9" * 5000 + b" " + b"0" * 64])
def test_a_damaged_head_is_one_clear_error(tool: Tool, head: bytes) -> None:
    tool.register()
    account(tool).with_suffix(".head").write_bytes(head)
    with pytest.raises(BadInputError, match=r"\.head: is damaged"):
        Chain(account(tool))


def test_a_line_nested_beyond_reason_is_damage(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"[" * 200_000 + b"\n")
    with pytest.raises(BadInputError, match="edited or damaged"):
        Chain(tmp_path / "x.jsonl")


def test_a_ledger_from_before_a_release_is_refused_beside_it(tool: Tool) -> None:
    tool.register()
    shutil.copytree(tool.ledger, tool.folder / "backup")
    tool.release("a", "1.9")
    newest = tool.folder / "newest"
    tool.ledger.rename(newest)
    shutil.copytree(tool.folder / "backup", tool.ledger)
    code, _, err = tool.release("b", "1.9")
    assert (code, "has forgotten what" in err) == (2, True)
    assert str(tool.folder / "out" / "manifest.json") in err
    assert tool.state()["claims"] == {}
    tool.release("x", "0.1", "out-x")  # and another history, as long
    assert "has forgotten what" in tool.release("b", "1.9")[2]
    tool.ledger = newest
    assert tool.release("b", "0.1")[0] == 0


def test_a_manifest_from_before_heads_were_keyed_is_compared_too(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    path = tool.folder / "out" / "manifest.json"
    manifest = tool.manifest()
    for head, code in ((Chain(account(tool)).heads[3], 0), ("0" * 64, 2)):
        manifest["ledger"]["head"] = head
        path.write_text(json.dumps(manifest))
        assert tool.release(f"b{code}", "0.1")[0] == code


def test_what_is_no_manifest_of_this_ledger_is_no_reason_to_refuse(tool: Tool) -> None:
    tool.register()
    (tool.folder / "out").mkdir()
    for text in ("", "[]", '{"dataset":1}', '{"dataset":[],"ledger":{"seq":[],"head":7}}'):
        (tool.folder / "out" / "manifest.json").write_text(text)
        Ledger(tool.ledger).compare(tool.folder / "out" / "manifest.json")
    assert tool.release("a")[0] == 0


def test_the_assertion_of_disjointness_is_recorded_in_its_words(tool: Tool) -> None:
    tool.register()
    part = ("--partition", "0/2", "--disjoint")
    tool.release("a", "0.7", "out", *part, "one camera a person")
    (reserved,) = [entry for entry in tool.state()["entries"] if entry["type"] == "reserve"]
    assert reserved["disjoint"] == "one camera a person"
    assert tool.release("a", "0.7", "out", *part, "in other words")[0] == 0  # the same claim


@pytest.mark.parametrize("rule", ["advanced", "zcdp"])
def test_a_delta_that_would_show_a_record_is_refused(tool: Tool, rule: str) -> None:
    code, _, err = tool.register("--composition", rule, "--delta", "0.02")
    assert (code, "1/50" in err) == (2, True)
    assert list(tool.ledger.glob("*.jsonl")) == []
    assert tool.register("--composition", rule, "--delta", "0.0199")[0] == 0


def test_first_registrations_at_once_share_a_key(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Tool(tool.folder, tool._capture)
    other.data = save(tool.folder / "other.npz", seed=4)
    real, waiting = Ledger._locked, [other]

    @contextlib.contextmanager
    def locked(self: Ledger) -> Iterator[None]:
        if waiting:
            assert waiting.pop().register()[0] == 0
        with real(self):
            yield

    monkeypatch.setattr(Ledger, "_locked", locked)
    code, _, err = tool.register()
    assert (code, err) == (0, "")
    assert len(Ledger(tool.ledger).accounts()) == 2


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_where_nothing_can_be_written_nothing_is_charged(tool: Tool, out: str) -> None:
    tool.register()
    (tool.folder / "file").write_text("in the way")
    code, _, err = tool.release("a", "0.7", out)
    assert (code, f"--out {tool.folder / out}: cannot be written" in err) == (2, True)
    assert tool.state()["claims"] == {}
