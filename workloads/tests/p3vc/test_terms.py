"""Terms that are fixed at registration, one account for one data path, and what the owner alone may decide."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p3vc.chain import Chain
from p3vc.ledger import Ledger
from tests.p3vc.support import Tool, images, save

SIGNED = ("--who", "Ada Owner", "--why", "the ethics board agreed")


def owner(tool: Tool, decision: str, *more: str, signed: tuple[str, ...] = SIGNED) -> tuple[int, str, str]:
    return tool.run("owner", decision, "--ledger", str(tool.ledger), *signed, *more)


def account(tool: Tool) -> Path:
    (found,) = tool.ledger.glob("*.jsonl")
    return found


def older(tool: Tool) -> None:
    """Write the ledger as it was before it held neighbourhood, relation and data path."""
    path = account(tool)
    entries = Chain(path).entries
    path.unlink()
    path.with_suffix(".head").unlink()
    old = Chain(path)
    for entry in entries:
        kept = {key: value for key, value in entry.items() if key not in ("seq", "prev", "data")}
        if "terms" in kept:
            kept["terms"] = {k: v for k, v in kept["terms"].items() if k not in ("neighbourhood", "relation")}
        old.append(kept)


def raw(tool: Tool) -> Path:
    """Move the data into a raw folder, and name that."""
    folder = tool.folder / "raw"
    folder.mkdir()
    tool.data.rename(folder / "raw.npz")
    tool.data = folder
    return folder


# Neighbourhood


def test_a_release_below_the_registered_neighbourhood_is_refused(tool: Tool) -> None:
    tool.register("--neighbourhood", "3")
    assert (tool.state()["neighbourhood"], tool.state()["relation"]) == (3, "one record is replaced")
    code, _, err = tool.release("a", "0.7", "out", "--block", "4", "--neighbourhood", "2")
    assert (code, "--neighbourhood 2 protects fewer pixels than the 3" in err) == (3, True)
    assert tool.state()["claims"] == {}
    assert not (tool.folder / "out").exists()
    where = ("--data", str(tool.data), "--ledger", str(tool.ledger), "--epsilon", "0.1")
    assert tool.run("estimate", *where, "--block", "4", "--neighbourhood", "2")[0] == 3
    assert tool.release("a", "0.7", "out", "--block", "4", "--neighbourhood", "3")[0] == 0
    assert tool.manifest()["ledger"]["neighbourhood"] == 3


def test_a_neighbourhood_is_never_lowered_and_raised_only_where_it_is_true(tool: Tool) -> None:
    tool.register("--neighbourhood", "2")
    code, _, err = tool.register("--neighbourhood", "1")
    assert (code, "neighbourhood 2 (asked: 1)" in err) == (2, True)
    assert tool.register()[0] == 0  # asks for nothing
    tool.release("a", "0.7", "out", "--block", "4", "--neighbourhood", "4")
    assert tool.register("--neighbourhood", "4")[0] == 0
    assert tool.state()["neighbourhood"] == 4
    code, _, err = tool.register("--neighbourhood", "5")
    assert (code, "claim a protects 4" in err) == (3, True)
    assert tool.register("--neighbourhood", "2")[0] == 2
    assert tool.state()["neighbourhood"] == 4


def test_a_grant_covers_whole_records(tool: Tool) -> None:
    tool.register("--neighbourhood", "4", "--delta", "1e-5")
    assert tool.release("a", "0.1", "out", "--block", "4", "--neighbourhood", "64")[0] == 0
    where = ("--data", str(tool.data), "--ledger", str(tool.ledger), "--out", str(tool.folder / "out"))
    what = ("--claim", "t", "--grant", "0123456789ab", "--epsilon", "1", "--delta", "1e-6", "--rounds", "3")
    assert tool.run("grant", *where, *what, "--clipping-norm", "1")[0] == 0
    assert tool.register("--neighbourhood", "64", "--delta", "1e-5")[0] == 0


def test_an_older_ledger_takes_the_terms_that_are_true_of_it(tool: Tool) -> None:
    tool.register()
    tool.release("a")  # for 2 pixels
    older(tool)
    assert tool.state()["neighbourhood"] is None
    assert tool.register("--neighbourhood", "3")[0] == 3
    assert tool.register("--neighbourhood", "2")[0] == 0
    shutil.rmtree(tool.folder / "out")  # quotes a chain that this test has rewritten
    assert tool.release("b", "0.1", "out-b", "--block", "4", "--neighbourhood", "1")[0] == 3
    assert tool.release("b", "0.1", "out-b")[0] == 0
    assert tool.state()["spent"] == "0.8"


# One data path is one account


def part_below(tool: Tool) -> None:
    tool.data = tool.data / "raw.npz"
    save(tool.data, seed=9)


def other_records(tool: Tool) -> None:
    save(tool.data / "raw.npz", seed=9)


def one_more_record(tool: Tool) -> None:
    save(tool.data / "raw.npz", count=51)


def another_format(tool: Tool) -> None:
    (tool.data / "data_batch_1.bin").write_bytes(bytes(2 * 3073))


def through_a_link(tool: Tool) -> None:
    other_records(tool)
    (tool.folder / "link").symlink_to(tool.data)
    tool.data = tool.folder / "link"


def renamed(tool: Tool) -> None:
    """The same folder where it is mounted elsewhere."""
    other_records(tool)
    tool.data = tool.data.rename(tool.folder / "elsewhere")


def above(tool: Tool) -> None:
    (tool.folder / "above").mkdir()
    tool.data.rename(tool.folder / "above" / "raw")
    (tool.folder / "raw").symlink_to("above/raw")
    tool.data = tool.folder / "above"
    save(tool.data / "new.npz", seed=9)


WAYS = [part_below, other_records, one_more_record, another_format, through_a_link, renamed, above]


@pytest.mark.parametrize("way", WAYS)
def test_one_data_path_has_one_budget(tool: Tool, way: object) -> None:
    raw(tool)
    tool.register()
    tool.release("a", "1.9")
    assert callable(way)
    way(tool)
    more = ("--format", "cifar10") if way is another_format else ()
    code, _, err = tool.register(*more)
    assert (code, "One data path is one account" in err) == (3, True), err
    assert f"p3vc owner begin --ledger {tool.ledger} --dataset {tool.state()['dataset']}" in err
    assert len(list(tool.ledger.glob("*.jsonl"))) == 1
    assert tool.release("b", "1.9", "out-b", *more)[0] == 2


def test_the_same_records_elsewhere_are_the_same_account(tool: Tool) -> None:
    folder = raw(tool)
    tool.register()
    shutil.copytree(folder, tool.folder / "copy")
    tool.data = tool.folder / "copy"
    assert tool.register()[0] == 0
    save(tool.data / "raw.npz", seed=9)
    assert tool.register()[0] == 3  # that place is the account's, too


def test_another_dataset_lies_elsewhere(tool: Tool) -> None:
    raw(tool)
    tool.register()
    other = tool.folder / "other"
    other.mkdir()
    tool.data = save(other / "x.npz", seed=9)
    assert tool.register()[0] == 0
    tool.data = other
    assert tool.register()[0] == 0  # the folder of that one file is the same records
    (other / "x.npz").unlink()
    save(other / "y.npz", seed=10)
    assert tool.register()[0] == 3


def test_shapes_that_make_other_datasets_of_one_folder_make_no_other_account(tool: Tool) -> None:
    folder = tool.folder / "pictures"
    for number, size in enumerate((8, 8, 9)):
        (folder / "a").mkdir(parents=True, exist_ok=True)
        Image.fromarray(images(1, (3, size, size), number)[0].transpose(1, 2, 0)).save(folder / "a" / f"{number}.png")
    tool.data = folder
    assert tool.register("--on-violation", "drop")[0] == 0
    assert tool.register("--on-violation", "drop", "--shape", "3x9x9")[0] == 3


def test_an_older_account_is_asked_where_it_lies_before_another_is_opened(tool: Tool) -> None:
    raw(tool)
    tool.register()
    older(tool)
    other_records(tool)
    code, _, err = tool.register()
    assert (code, "was registered before ledgers said where data lies" in err) == (3, True)
    save(tool.data / "raw.npz")
    assert tool.register()[0] == 0
    other_records(tool)
    assert f"lies at {tool.data}" in tool.register()[2]


# What the owner decides


def test_a_raised_budget_is_spent_and_both_budgets_may_be_declared(tool: Tool) -> None:
    tool.register(budget="0.7")
    tool.release("a")
    assert tool.release("b", "0.7", "out-b")[0] == 3
    code, _, err = tool.register(budget="1.4")
    assert (code, "budget 0.7 (asked: 1.4)" in err) == (2, True)
    assert f"p3vc owner raise --ledger {tool.ledger} --dataset {tool.state()['dataset']} --budget 1.4" in err
    code, out, _ = owner(tool, "raise", "--budget", "1.4")
    assert (code, "remaining 0.7" in out, "cap of its own" in out) == (0, True, True)
    for budget in ("0.7", "1.4"):
        assert tool.register(budget=budget)[0] == 0
    assert "raised the budget to 1.4" in tool.register(budget="0.7")[1]
    assert tool.register(budget="1")[0] == 2
    assert tool.release("b", "0.7", "out-b")[0] == 0
    assert tool.release("c", "0.1", "out-c")[0] == 3
    (decision,) = tool.state()["decisions"]
    assert (decision["action"], decision["who"], decision["why"]) == ("raise", "Ada Owner", "the ethics board agreed")
    assert decision["time"].startswith("20")
    assert "Ada Owner" in tool.run("ledger", "--ledger", str(tool.ledger))[1]


@pytest.mark.parametrize("budget", ["2", "1.9", "2.0"])
def test_a_budget_is_not_lowered_nor_raised_to_itself(tool: Tool, budget: str) -> None:
    tool.register()
    before = account(tool).read_bytes()
    code, _, err = owner(tool, "raise", "--budget", budget)
    assert (code, "has 2 already" in err) == (2, True)
    assert owner(tool, "raise")[0] == 2
    assert account(tool).read_bytes() == before


def test_a_delta_can_be_given_under_basic_only(tool: Tool) -> None:
    tool.register()
    assert owner(tool, "raise", "--delta", "0.02")[0] == 2  # a fiftieth of fifty records
    assert owner(tool, "raise", "--delta", "1e-5")[0] == 0
    assert tool.state()["delta"] == "0.00001"
    assert (tool.register()[0], tool.register("--delta", "1e-5")[0], tool.register("--delta", "1e-6")[0]) == (0, 0, 2)
    tool.ledger = tool.folder / "ledger-2"
    tool.register("--composition", "zcdp", "--delta", "1e-5")
    code, _, err = owner(tool, "raise", "--delta", "1e-4")
    assert (code, "raise the budget alone" in err) == (2, True)


@pytest.mark.parametrize("decision", ["raise", "close", "begin"])
@pytest.mark.parametrize("signed", [(), SIGNED[:2], SIGNED[2:], ("--who", " ", "--why", "x" * 501)])
def test_nobody_decides_without_a_name_and_a_reason(tool: Tool, decision: str, signed: tuple[str, ...]) -> None:
    tool.register()
    before = account(tool).read_bytes()
    assert owner(tool, decision, signed=signed)[0] == 2
    assert account(tool).read_bytes() == before


def test_a_closed_account_admits_nothing_new_and_finishes_what_it_began(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    assert owner(tool, "close")[0] == 0
    code, out, _ = tool.register()
    assert (code, "admits no new claim: Ada Owner closed it" in out) == (0, True)
    code, _, err = tool.release("b", "0.1", "out-b")
    assert (code, "Ada Owner closed it on" in err, "the ethics board agreed" in err) == (3, True, True)
    assert tool.release("a")[0] == 0
    for decision in (("raise", "--budget", "9"), ("close",)):
        assert owner(tool, *decision)[0] == 3
    assert tool.state()["closed"]["action"] == "close"
    save(tool.data, seed=9)
    assert tool.register()[0] == 3  # its data path stays its own
    assert owner(tool, "begin")[0] == 0
    assert tool.register()[0] == 0
    dataset = tool.state()["dataset"]  # of the new one
    assert owner(tool, "begin", "--dataset", dataset)[0] == 0
    assert owner(tool, "begin", "--dataset", dataset)[0] == 3


def test_a_dataset_begun_anew_has_a_budget_of_its_own_and_the_old_one_none(tool: Tool) -> None:
    raw(tool)
    tool.register()
    tool.release("a", "1.9")
    old = tool.state()["dataset"]
    other_records(tool)
    assert owner(tool, "begin")[0] == 0
    assert tool.register()[0] == 0
    assert tool.state()["dataset"] != old  # the one that is open
    code, _, err = tool.release("a", "1.9", "out-b")
    assert (code, "new claim id" in err) == (2, True)
    assert tool.release("b", "1.9", "out-b")[0] == 0
    save(tool.data / "raw.npz")
    assert "began a new dataset in its place" in tool.register()[1]
    code, _, err = tool.release("c", "0.1", "out-c")
    assert (code, "began a new dataset in its place" in err) == (3, True)
    save(tool.data / "raw.npz", seed=10)
    assert tool.register()[0] == 3


def test_decisions_are_chained(tool: Tool) -> None:
    tool.register()
    owner(tool, "raise", "--budget", "9")
    path = account(tool)
    path.write_bytes(path.read_bytes().replace(b'"budget":"9"', b'"budget":"99"'))
    assert tool.release("a")[0] == 2
    assert "backup" in tool.run("ledger", "--ledger", str(tool.ledger))[2]


def test_a_release_without_a_claim_cannot_be_paid_for_later(tool: Tool) -> None:
    tool.register()
    tool.release("p", "0.7", "out", "--mechanism", "paper", "--accept-no-claim")
    code, _, err = owner(tool, "raise", "--budget", "9")
    assert (code, "unbounded" in err) == (3, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for another user")
def test_what_an_administrator_decides_the_pods_user_can_go_on_with(tool: Tool) -> None:
    tool.register()
    for path in (tool.ledger, *tool.ledger.rglob("*")):
        os.chown(path, 49999, 49999)
    (tool.ledger / ".lock").unlink()
    assert owner(tool, "raise", "--budget", "9")[0] == 0
    other = save(tool.folder / "other.npz", seed=9)
    tool.run("register", "--data", str(other), "--ledger", str(tool.ledger), "--budget", "1")
    owners = {path.name: path.stat().st_uid for path in tool.ledger.rglob("*")}
    assert set(owners.values()) == {49999}, owners


def test_registering_reads_where_a_file_is(tool: Tool) -> None:
    """An account remembers the place, not what was typed."""
    tool.register()
    (found,) = Ledger(tool.ledger).accounts().values()
    (place,) = found.places
    assert (place.path, place.inode) == (str(tool.data), tool.data.stat().st_ino)
    assert np.load(tool.data)["images"].shape == (50, 3, 8, 8)
