"""``p3vc grant``: what it writes, what it charges, what it refuses."""

from __future__ import annotations

import json
import shutil
import stat
from decimal import Decimal

import pytest

from contract import gaussian
from contract.decimals import root_up
from tests.p3vc.support import Tool, save

GRANT = "0123456789ab"


def grant(tool: Tool, claim: str = "c1-training-0123456789ab", *more: str, out: str = "out") -> tuple[int, str, str]:
    """Grant 0.3 at 1e-6 for ten rounds; later options win."""
    where = ("--data", str(tool.data), "--out", str(tool.folder / out), "--ledger", str(tool.ledger))
    asked = ("--epsilon", "0.3", "--delta", "1e-6", "--rounds", "10", "--clipping-norm", "1.0")
    return tool.run("grant", *where, "--claim", claim, "--grant", GRANT, *asked, *more)


def test_a_grant_is_charged_once_and_says_what_the_run_may_do(tool: Tool) -> None:
    tool.register("--delta", "1e-5")
    tool.release("a")
    log = tool.folder / "termination"
    log.touch()
    code, out, err = grant(tool, "t", "--termination-log", str(log), "--json")
    assert code == 0, err
    z = gaussian.noise_multiplier(Decimal("0.3"), Decimal("1e-6"), 10)
    path = tool.folder / "out" / "training.json"
    content = json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    relation = content["relation"]
    assert "loss, accuracy, train-loss and counts" in relation
    assert relation.endswith("this claim does not cover them")
    assert content["ledger"].pop("head").startswith("hmac-sha256:")
    assert content == {
        "grant": GRANT, "claim": "t", "dataset": tool.state()["dataset"], "epsilon": "0.3", "delta": "0.000001",
        "rounds": 10, "clipping_norm": 1.0, "noise_multiplier": z, "release": "a", "partition": None,
        "relation": content["relation"], "ledger": {"seq": 6},
    }  # fmt: skip
    assert "any of the client's records replaced" in content["relation"]
    record = json.loads(log.read_text())
    assert record == json.loads(out)
    assert {**record, "ledger": {"seq": record["ledger"]["seq"]}}.items() >= content.items()
    assert (record["spent"], record["remaining"], record["delta_spent"]) == ("1", "1", "0.000001")
    before, written = tool.state(), path.read_bytes()
    assert before["spent"] == "1"
    assert before["claims"]["t"] == {
        "epsilon": "0.3", "delta": "0.000001", "rho": format(gaussian.rho(Decimal("0.3"), Decimal("1e-6")), "f"),
        "mechanism": "gaussian", "purpose": "training", "grant": GRANT, "rounds": 10, "status": "complete",
        "part": None,
    }  # fmt: skip
    path.unlink()
    code, out, _ = grant(tool, "t")
    assert (code, "already granted" in out) == (0, True)
    assert (tool.state(), path.read_bytes()) == (before, written)
    assert (tool.folder / "out" / "manifest.json").exists()
    assert tool.run("verify", "--release", str(tool.folder / "out"), "--claim", "a")[0] == 0


def test_the_relation_says_what_a_partition_by_label_leaves_out(tool: Tool) -> None:
    """A record of another label would be another client's: two updates would move, which half the noise is for."""
    tool.register("--delta", "1e-5")
    relations = {}
    for partitioner in ("iid", "dirichlet"):
        tool.release(f"of {partitioner}", "0.1", partitioner, "--partition", "0/2", "--partitioner", partitioner)
        assert grant(tool, partitioner, out=partitioner)[0] == 0
        relations[partitioner] = json.loads((tool.folder / partitioner / "training.json").read_text())["relation"]
    assert "labels" not in relations["iid"]
    assert "each by one of the same label; labels are public" in relations["dirichlet"]


def test_the_words_of_a_disjointness_assertion_are_recorded(tool: Tool) -> None:
    tool.register("--delta", "1e-5")
    tool.release("a", "0.7", "out", "--partition", "0/2", "--disjoint", "one camera a person")
    assert grant(tool, "t")[0] == 0
    reserved = [e for e in tool.state()["entries"] if e["type"] == "reserve"]
    assert [entry["disjoint"] for entry in reserved] == ["one camera a person"] * 2


def test_a_person_sees_the_runs_apart_from_the_releases(tool: Tool) -> None:
    tool.register("--delta", "1e-5")
    tool.release("a")
    grant(tool, "t")
    _, out, _ = tool.run("ledger", "--ledger", str(tool.ledger))
    assert "delta      0.000001 of 0.00001" in out
    assert "a: epsilon 0.7, laplace, complete" in out
    assert "t: epsilon 0.3 at delta 0.000001 for 10 rounds of training, gaussian, complete" in out


@pytest.mark.parametrize(
    ("terms", "more", "says"),
    [
        (("--delta", "1e-5"), ("--epsilon", "1.4"), "remaining 1.3"),
        (("--delta", "1e-5"), ("--delta", "1.01e-5"), "0.0000101 of its registered 0.00001"),
        ((), (), "registered with --delta"),
        (("--composition", "zcdp", "--delta", "1e-5"), ("--epsilon", "3"), "zcdp, delta"),
        (("--composition", "advanced", "--delta", "1e-5"), ("--epsilon", "3"), "advanced, delta"),
    ],
)
def test_a_refusal_writes_nothing(tool: Tool, terms: tuple[str, ...], more: tuple[str, ...], says: str) -> None:
    tool.register(*terms)
    assert tool.release("a", "0.7" if "--composition" not in terms else "0.3")[0] == 0
    before = tool.state()
    code, _, err = grant(tool, "t", *more)
    assert (code, says in err) == (3, True), err
    assert tool.state() == before
    assert not (tool.folder / "out" / "training.json").exists()


def test_deltas_add_up_under_basic(tool: Tool) -> None:
    tool.register("--delta", "2e-6")
    tool.release("a", "0.1")
    assert [grant(tool, f"t{i}", "--grant", f"{i}" * 12)[0] for i in range(3)] == [0, 0, 3]
    assert (tool.state()["spent"], tool.state()["delta_spent"]) == ("0.7", "0.000002")


def test_grants_of_one_run_add_their_mu(tool: Tool) -> None:
    """One noise covers every copy of a record: two grants of 0.3 on the same records cost more than two runs of 0.3."""
    tool.register("--delta", "1e-5")
    tool.release("a", "0.1")
    assert [grant(tool, f"t{i}")[0] for i in range(2)] == [0, 0]
    mu = root_up(2 * gaussian.rho(Decimal("0.3"), Decimal("1e-6")))
    shared = gaussian.epsilon(mu * 2, Decimal("2e-6"))
    assert shared > Decimal("0.6")
    assert Decimal(tool.state()["spent"]) == Decimal("0.1") + shared
    assert tool.state()["delta_spent"] == "0.000002"


def test_rho_adds_up_under_zcdp_and_deltas_do_not(tool: Tool) -> None:
    """At the registered delta of 1e-6, ten runs of 0.3 at 1e-6 each cost less than the sum."""
    tool.register("--composition", "zcdp", "--delta", "1e-6", budget="1.2")
    tool.release("a", "0.01")
    codes = [grant(tool, f"t{i}", "--grant", f"{i:012}")[0] for i in range(12)]
    assert codes == sorted(codes)
    assert 4 < codes.count(0) < 12
    state = tool.state()
    assert float(state["spent"]) <= 1.2 < 0.3 * codes.count(0)
    assert float(state["tightest"]["epsilon"]) <= float(state["spent"])


@pytest.mark.parametrize(
    "more",
    [
        ("--epsilon", "0.2"),
        ("--delta", "1e-7"),
        ("--rounds", "11"),
        ("--clipping-norm", "2"),
        ("--grant", "ba9876543210"),
    ],
)
def test_a_claim_stands_for_one_run(tool: Tool, more: tuple[str, ...]) -> None:
    tool.register("--delta", "1e-5")
    tool.release("a")
    assert grant(tool, "t")[0] == 0
    before = tool.state()
    code, _, err = grant(tool, "t", *more)
    assert (code, "already stands for other parameters" in err) == (2, True)
    assert tool.state() == before
    assert grant(tool, "t", "--epsilon", "0.30", "--delta", "0.0000010")[0] == 0


def test_a_release_and_a_grant_cannot_share_a_claim(tool: Tool) -> None:
    tool.register("--delta", "1e-5")
    tool.release("a")
    assert grant(tool, "a")[0] == 2
    grant(tool, "t")
    assert tool.release("t", "0.3", "elsewhere")[0] == 2
    assert tool.state()["spent"] == "1"


DISJOINT = ("--partitioner", "iid", "--seed", "3", "--disjoint", "one camera a person")


def test_a_grant_of_a_part_is_in_the_releases_family(tool: Tool) -> None:
    """Two clients, each a release and a grant of its own part: a record is in one of them."""
    tool.register("--delta", "1e-6", budget="1")
    for part in range(2):
        more = ("--partition", f"{part}/2", *DISJOINT)
        assert tool.release(f"c{part}", "0.7", f"out{part}", *more)[0] == 0
        assert grant(tool, f"t{part}", *more, out=f"out{part}")[0] == 0
    assert (tool.state()["spent"], tool.state()["delta_spent"]) == ("1", "0.000001")
    assert tool.state()["claims"]["t1"]["part"] == 1


def test_grants_of_parts_over_one_whole_release_are_charged_for_the_whole(tool: Tool) -> None:
    """Each client says that it trains on its own part, and each has all records."""
    tool.register("--delta", "1e-5")
    tool.release("a")
    before = tool.state()
    for part in range(4):
        code, _, err = grant(tool, f"t{part}", "--partition", f"{part}/4", *DISJOINT)
        assert (code, "the release is of the whole dataset" in err) == (2, True), err
    assert tool.state() == before
    assert [grant(tool, f"t{part}")[0] for part in range(4)] == [0, 0, 0, 0]
    assert {claim["part"] for claim in tool.state()["claims"].values()} == {None}
    assert Decimal(tool.state()["spent"]) > Decimal("0.7") + 4 * Decimal("0.3")


def test_an_assertion_that_the_release_was_made_without_is_refused(tool: Tool) -> None:
    tool.register("--delta", "1e-5")
    tool.release("a", "0.7", "out", "--partition", "0/2", *DISJOINT[:-2])
    code, _, err = grant(tool, "t", "--partition", "0/2", *DISJOINT)
    assert (code, "not what was asserted for the release" in err) == (2, True)
    assert grant(tool, "t", "--partition", "0/2", *DISJOINT[:-2])[0] == 0
    assert tool.state()["spent"] == "1"


def test_a_grant_needs_the_release_that_the_ledger_recorded(tool: Tool) -> None:
    tool.register("--delta", "1e-5")
    code, _, err = grant(tool, "t")
    assert (code, "a grant belongs to the release there" in err) == (2, True)
    tool.release("a")
    manifest = tool.folder / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"statement": "', '"statement": "not '))
    before = tool.state()
    code, _, err = grant(tool, "t")
    assert (code, "is not the one that" in err) == (2, True), err
    other = Tool(tool.folder / "other", tool._capture)
    other.folder.mkdir()
    save(other.data, seed=5)
    other.register("--delta", "1e-5")
    other.release("b")
    code, _, err = grant(tool, "t", out="other/out")
    assert (code, "holds release b of dataset" in err) == (2, True), err
    assert tool.state() == before


def test_a_ledger_from_before_a_grant_is_refused_beside_it(tool: Tool) -> None:
    tool.register("--delta", "1e-5")
    tool.release("a")
    shutil.copytree(tool.ledger, tool.folder / "backup")
    assert grant(tool, "t")[0] == 0
    shutil.rmtree(tool.ledger)
    (tool.folder / "backup").rename(tool.ledger)
    for code, _, err in (grant(tool, "u", "--grant", "f" * 12), tool.release("b", "0.1")):
        assert (code, "has forgotten what" in err, "training.json" in err) == (2, True, True), err


def test_a_grant_reads_no_record(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    from p3vc.formats import Npz

    tool.register("--delta", "1e-5")
    tool.release("a")
    monkeypatch.setattr(Npz, "batches", lambda *_: pytest.fail("records were read"))
    assert grant(tool)[0] == 0


def test_a_dataset_must_be_registered_and_still_have_a_bound(tool: Tool) -> None:
    assert grant(tool)[0] == 2
    tool.register("--delta", "1e-5")
    save(tool.folder / "other.npz", seed=9)
    assert grant(tool, "t", "--data", str(tool.folder / "other.npz"))[0] == 2
    tool.release("p", "0.7", "out", "--mechanism", "paper", "--accept-no-claim")
    code, _, err = grant(tool, "t")
    assert (code, "without a DP claim" in err) == (3, True)


def test_a_completed_grant_cannot_be_given_back(tool: Tool) -> None:
    tool.register("--delta", "1e-5")
    tool.release("a")
    grant(tool, "t")
    code, _, err = tool.run("cancel", "--ledger", str(tool.ledger), "--claim", "t")
    assert (code, "charge stays" in err) == (3, True)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--grant", "0123456789AB"), "12 hexadecimal digits"),
        (("--grant", "0123"), "12 hexadecimal digits"),
        (("--clipping-norm", "nan"), "number from 1e-6"),
        (("--clipping-norm", "0"), "number from 1e-6"),
        (("--rounds", "0"), "integer from 1"),
        (("--delta", "0"), "decimal from 1e-30"),
        (("--epsilon", "-1"), "decimal above 0"),
        (("--disjoint", "yes"), "needs --partition"),
    ],
)
def test_bad_input_is_named(tool: Tool, more: tuple[str, ...], says: str) -> None:
    tool.register("--delta", "1e-5")
    code, _, err = grant(tool, "t", *more)
    assert (code, says in err) == (2, True), err
