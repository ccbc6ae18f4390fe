from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from p3vc.chain import Chain
from p3vc.errors import BadInputError
from tests.p3vc.support import Tool, images, save


def test_registering_again_on_the_same_terms_changes_nothing(tool: Tool) -> None:
    assert tool.register()[0] == 0
    before = tool.state()
    code, out, _ = tool.register(budget="2.00")
    assert (code, "already registered" in out) == (0, True)
    assert tool.state() == before
    assert before["budget"] == "2"


@pytest.mark.parametrize(
    ("more", "budget", "says"),
    [
        ((), "3", "budget 2 (asked: 3)"),
        (("--composition", "zcdp", "--delta", "1e-5"), "2", "composition basic (asked: zcdp)"),
        (("--classes", "9"), "2", "classes 5 (asked: 9)"),
        (("--on-violation", "drop"), "2", "on_violation refuse"),
    ],
)
def test_other_terms_are_refused_and_named(tool: Tool, more: tuple[str, ...], budget: str, says: str) -> None:
    tool.register()
    before = tool.state()
    code, _, err = tool.register(*more, budget=budget)
    assert code == 2
    assert says in err
    assert tool.state() == before


def test_spending_is_charged_once_a_claim_and_refused_over_budget(tool: Tool) -> None:
    tool.register()
    assert tool.release("a")[0] == 0
    first = (tool.folder / "out" / "images.npy").read_bytes()
    code, out, _ = tool.release("a")
    assert (code, "already released" in out) == (0, True)
    assert (tool.folder / "out" / "images.npy").read_bytes() == first
    assert tool.release("b", "1.3", "out-b")[0] == 0
    assert (tool.state()["spent"], tool.state()["remaining"]) == ("2", "0")
    code, _, err = tool.release("c", "0.000000001", "out-c")
    assert code == 3
    assert "remaining 0" in err
    assert not (tool.folder / "out-c").exists()
    assert set(tool.state()["claims"]) == {"a", "b"}


def test_a_refusal_reads_no_data(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    from p3vc.formats import Npz

    tool.register()
    monkeypatch.setattr(Npz, "batches", lambda *_: pytest.fail("records were read"))
    assert tool.release("a", "2.1")[0] == 3


def test_the_charge_is_on_disk_before_the_first_record_is_read(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    from p3vc.formats import Npz

    tool.register()
    real = Npz.batches

    def watched(self: Npz, size: int) -> object:
        assert tool.state()["claims"]["a"]["status"] == "committed"
        assert tool.state()["spent"] == "0.7"
        return real(self, size)

    monkeypatch.setattr(Npz, "batches", watched)
    assert tool.release("a")[0] == 0


@pytest.mark.parametrize(
    "more",
    [
        ("--mechanism", "exponential"),
        ("--block", "2", "--neighbourhood", "2"),
        ("--labels", "private", "--label-epsilon", "0.1"),
        ("--partition", "0/2"),
    ],
)
def test_a_claim_id_stands_for_one_set_of_parameters(tool: Tool, more: tuple[str, ...]) -> None:
    tool.register()
    tool.release("a")
    code, _, err = tool.release("a", "0.7", "out", *more)
    assert code == 2
    assert "already stands for other parameters" in err
    assert tool.release("a", "0.70", "out")[0] == 0


def test_the_budget_follows_the_content_not_the_name(tool: Tool) -> None:
    tool.register()
    tool.release("a", "1.9")
    with np.load(tool.data) as held:
        arrays = dict(held)
    moved = tool.folder / "elsewhere" / "renamed.npz"
    moved.parent.mkdir()
    np.savez_compressed(moved, **arrays)
    tool.data.unlink()
    tool.data = moved
    assert tool.register()[0] == 0
    code, _, err = tool.release("b", "0.2", "fresh")
    assert code == 3
    assert "spent 1.9" in err


def test_deleting_the_private_copy_gives_nothing_back(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    (tool.folder / "out" / "images.npy").unlink()
    code, _, err = tool.release("a")
    assert code == 3
    assert "new claim id" in err
    assert tool.state()["spent"] == "0.7"
    assert tool.release("b")[0] == 0
    assert tool.state()["spent"] == "1.4"


def test_the_seed_is_destroyed_and_its_commitment_kept(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    assert tool.seeds() == []
    commits = [entry for entry in tool.state()["entries"] if entry["type"] == "commit"]
    assert [entry["seed_sha256"] for entry in commits] == [tool.manifest()["seed_sha256"]]


def test_an_unregistered_dataset_is_refused(tool: Tool) -> None:
    code, _, err = tool.release("a")
    assert (code, "register" in err) == (2, True)
    tool.register()
    save(tool.folder / "other.npz", seed=9)
    tool.data = tool.folder / "other.npz"
    code, _, err = tool.release("a")
    assert (code, "not registered" in err) == (2, True)


def test_a_release_without_a_claim_needs_consent_and_ends_all_claims(tool: Tool) -> None:
    tool.register()
    code, _, err = tool.release("p", "0.7", "out", "--mechanism", "paper")
    assert (code, "not differentially private" in err) == (3, True)
    assert tool.state()["claims"] == {}
    assert tool.release("p", "0.7", "out", "--mechanism", "paper", "--accept-no-claim")[0] == 0
    assert tool.manifest()["statement"].startswith("no DP claim")
    assert tool.manifest()["epsilon"] == "unbounded"
    assert (tool.state()["spent"], tool.state()["remaining"]) == ("unbounded", "0")
    code, _, err = tool.release("a", "0.1", "out-a")
    assert (code, "without a DP claim" in err) == (3, True)


@pytest.mark.parametrize("rule", ["advanced", "zcdp"])
def test_the_registered_rule_decides(tool: Tool, rule: str) -> None:
    tool.register("--composition", rule, "--delta", "1e-5", budget="1.6")
    admitted = 0
    while tool.release(f"c{admitted}", "0.1", f"out{admitted}")[0] == 0:
        admitted += 1
    assert admitted == {"advanced": 10, "zcdp": 14}[rule]  # 0.1 ten times is 1.567 under advanced
    assert float(tool.state()["spent"]) <= 1.6
    assert float(tool.state()["tightest"]["epsilon"]) < float(tool.state()["spent"])


def test_a_rule_without_its_delta_is_refused(tool: Tool) -> None:
    code, _, err = tool.register("--composition", "zcdp")
    assert (code, "--delta" in err) == (2, True)


def test_parallel_parts_cost_their_maximum_only_under_an_assertion(tool: Tool) -> None:
    tool.register()
    split = ("--partitioner", "iid", "--seed", "3")
    for part in range(3):
        more = ("--partition", f"{part}/3", *split, "--disjoint", "one camera a person")
        assert tool.release(f"c{part}", "0.7", f"out{part}", *more)[0] == 0
    assert tool.state()["spent"] == "0.7"
    assert tool.manifest("out1")["disjoint"] == "one camera a person"
    assert tool.release("d", "0.7", "out-d", "--partition", "0/3", *split)[0] == 0  # no assertion: adds up
    assert tool.state()["spent"] == "1.4"
    other = ("--partition", "0/3", "--partitioner", "iid", "--seed", "4", "--disjoint", "one camera a person")
    assert tool.release("e", "0.7", "out-e", *other)[0] == 3  # another split: 2.1
    sizes = [np.load(tool.folder / f"out{part}" / "labels.npy").size for part in range(3)]
    assert sum(sizes) == 50


def test_only_an_uncommitted_reservation_can_be_cancelled(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    code, _, err = tool.run("cancel", "--ledger", str(tool.ledger), "--claim", "a")
    assert (code, "charge stays" in err) == (3, True)
    assert tool.run("cancel", "--ledger", str(tool.ledger), "--claim", "zzz")[0] == 2


def chain_file(tool: Tool) -> Path:
    (found,) = tool.ledger.glob("*.jsonl")
    return found


def rewrite(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("how", ["edit", "drop middle", "drop last", "swap", "lose file", "lose key", "garbage"])
def test_tampering_is_refused_with_a_clear_error(tool: Tool, how: str) -> None:
    tool.register()
    tool.release("a")
    path = chain_file(tool)
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "edit":
        rewrite(path, [line.replace(b'"epsilon":"0.7"', b'"epsilon":"0.1"') for line in lines])
    elif how == "drop middle":
        rewrite(path, lines[:1] + lines[2:])
    elif how == "drop last":
        rewrite(path, lines[:-1])
    elif how == "swap":
        rewrite(path, [lines[0], lines[2], lines[1], *lines[3:]])
    elif how == "lose file":
        path.unlink()
    elif how == "lose key":
        (tool.ledger / "key").unlink()
        os.utime(tool.data)  # so that the dataset must be recognised by its content
    else:
        rewrite(path, [*lines[:1], b"\xff\x00\n", *lines[1:]])
    code, _, err = tool.release("b", "0.1", "out-b")
    assert code == 2
    assert "backup" in err
    assert "Traceback" not in err
    assert not (tool.folder / "out-b").exists()


def test_a_torn_last_line_is_recovered(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    path = chain_file(tool)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq":4,"type":"reserve","claim":"never acted up')
    assert tool.state()["spent"] == "0.7"
    assert tool.release("b", "0.5", "out-b")[0] == 0
    assert tool.state()["spent"] == "1.2"
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_a_head_that_lags_one_line_is_a_crash_and_not_tampering(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "x.jsonl")
    chain.append({"type": "one"})
    head = (tmp_path / "x.head").read_bytes()
    chain.append({"type": "two"})
    (tmp_path / "x.head").write_bytes(head)
    assert [entry["type"] for entry in Chain(tmp_path / "x.jsonl").entries] == ["one", "two"]
    (tmp_path / "x.head").write_text("3 " + "0" * 64)
    with pytest.raises(BadInputError, match="removed or replaced"):
        Chain(tmp_path / "x.jsonl")


def test_no_public_file_holds_a_plain_digest_of_the_data(tool: Tool) -> None:
    """The same data in two ledgers has two names: nobody without the key can test a guess about the records."""
    tool.register()
    first = tool.state()["dataset"]
    tool.ledger = tool.folder / "ledger-2"
    tool.register()
    assert tool.state()["dataset"] != first


def test_several_datasets_in_one_ledger_are_told_apart(tool: Tool) -> None:
    tool.register()
    first = tool.state()["dataset"]
    np.savez(tool.folder / "second.npz", images=images(20, seed=5), labels=np.zeros(20, int))
    tool.data = tool.folder / "second.npz"
    tool.register(budget="1")
    code, _, err = tool.run("ledger", "--ledger", str(tool.ledger))
    assert (code, "--dataset" in err) == (2, True)
    code, out, _ = tool.run("ledger", "--ledger", str(tool.ledger), "--dataset", first, "--json")
    assert json.loads(out)["budget"] == "2"
    assert tool.release("a", "0.5")[0] == 0
    tool.data = tool.folder / "raw.npz"
    code, _, err = tool.release("a", "0.5")  # claim ids are one namespace in a ledger
    assert (code, "dataset" in err) == (2, True)
