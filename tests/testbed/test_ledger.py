"""Ledgers as the P3-VC writes them, read for a person and for the policies."""

from __future__ import annotations

import json
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from components.render import render
from contract import gaussian
from testbed import cli, contract, ledger, placement
from testbed.commands import p3vc_grant, p3vc_register, p3vc_release
from testbed.grants import grant
from testbed.manifests import Object, expand
from testbed.releases import release
from testbed.rules import judge
from testbed.rules.config import parse
from testbed.rules.context import Context
from testbed.spec import Testbed
from tests.components.rendering import spec

DP: dict[str, Any] = {
    "federation__training_dp__epsilon": 0.3,
    "federation__training_dp__delta": 1e-6,
    "privacy__epsilon": 0.4,
    "privacy__delta": 1e-6,
}


PLACE = "e3:/var/lib/kubeflower/lab/e3/raw/ledger"


def p3vc(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ledger.P3VC, *argv], capture_output=True, text=True, check=True)


def spend(here: Path, testbed: Testbed) -> Path:
    """The ledger after what client e3's Jobs do, by the very argv they have."""
    p3vc("dataset", "digits", "--out", str(here / "digits.npz"))
    places = {
        contract.MOUNT_RAW: str(here / "digits.npz"),
        contract.MOUNT_LEDGER: str(here / "ledger"),
        contract.MOUNT_SEEDS: str(here / "seeds"),
        contract.MOUNT_PRIVATE: str(here / "private"),
        contract.TERMINATION_LOG: str(here / "log"),
    }
    (here / "ledger").mkdir()
    e3 = next(one for one in placement.clients(testbed) if one.id == "e3")
    p, granted = testbed.privacy, grant(testbed, e3)
    register = p3vc_register(p.budget, p.composition, p.delta, testbed.dataset.classes, p.neighbourhood)
    jobs = [register, p3vc_release(release(testbed, e3))]
    for argv in [*jobs, *([p3vc_grant(granted)] if granted else [])]:
        p3vc(*(places.get(word, word) for word in argv[1:]))
    return here / "ledger"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger after a release."""
    return spend(tmp_path_factory.mktemp("raw"), spec("lab"))


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger after a release and the grant of a run."""
    return spend(tmp_path_factory.mktemp("raw"), spec("lab", **DP))


def test_the_next_plan_is_added_to_what_is_spent(folder: Path) -> None:
    config = parse(ledger.spent(ledger.read("digits", folder, PLACE)))

    def refused(epsilon: str) -> bool:
        objects = [Object(one) for one in render(spec("lab", privacy__epsilon=epsilon))]
        return any(v.rule == "privacy-budget" for v in judge(Context(objects, config)))

    assert not refused("0.7")  # the same claims: nothing more is spent
    assert refused("0.35")  # other claims of the same parts: 0.7 + 0.35


def test_a_person_reads_what_is_left(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ledger", f"digits={folder}"]) == cli.OK
    assert "digits: spent 0.7 of 0.7 (basic), 0 left" in capsys.readouterr().out
    assert cli.main(["ledger", "--format", "json", f"digits={folder}"]) == cli.OK
    (account,) = json.loads(capsys.readouterr().out)
    assert (account["name"], account["spent"], account["remaining"]) == ("digits", "0.7", "0")


def test_the_policy_configuration_names_claim_epsilon_and_part(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ledger", "--format", "policy", f"digits@{PLACE}={folder}"]) == cli.OK
    found = json.loads(capsys.readouterr().out)["privacy-budget"]["spent"]["digits"]
    ((claim, entry),) = found[PLACE].items()
    assert claim.startswith("e3-")
    assert entry == {"epsilon": "0.7", "part": "dirichlet of 4, alpha 1.0, seed 7:1"}


def test_a_grant_is_named_apart_and_has_its_delta(granted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ledger", f"digits={granted}"]) == cli.OK
    out = capsys.readouterr().out
    assert "digits: spent 0.7 of 0.7 (basic, delta 0.000001 of 0.000001), 0 left" in out
    (line,) = [line for line in out.splitlines() if "-training-" in line]
    assert line.endswith(": epsilon 0.3, delta 0.000001, gaussian, complete")
    claims = ledger.spent(ledger.read("digits", granted, PLACE))["privacy-budget"]["spent"]["digits"][PLACE]
    part = "dirichlet of 4, alpha 1.0, seed 7:1"
    (name,) = [name for name in claims if "-training-" in name]
    assert claims.pop(name) == {"epsilon": "0.3", "delta": "0.000001", "run": name.rpartition("-")[2], "part": part}
    assert list(claims.values()) == [{"epsilon": "0.4", "part": part}]


def test_the_policy_takes_the_noise_for_what_the_ledger_does(granted: Path) -> None:
    (account,) = ledger.read("digits", granted)
    (rho,) = [claim["rho"] for claim in account.record["claims"].values() if claim.get("rho")]
    assert gaussian.rho(Decimal("0.3"), Decimal("1e-6")) == Decimal(rho)


def test_the_next_run_is_added_to_the_one_that_was_granted(granted: Path) -> None:
    spent = ledger.spent(ledger.read("digits", granted, PLACE))["privacy-budget"]

    def refused(**changes: Any) -> list[str]:
        objects = [o for one in render(spec("lab", **{**DP, **changes})) for o in expand(one, "lab")]
        config = parse({"privacy-budget": {**spent, "delta": "2e-6"}})
        return [v.message for v in judge(Context(objects, config))]

    assert refused() == []
    assert refused(federation__training_dp__number=2) == ["dataset digits would spend epsilon 1 of 0.7"]


def test_a_ledger_that_cannot_be_read_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ledger", str(tmp_path / "none")]) == cli.UNREADABLE
    assert "none: no such folder" in capsys.readouterr().err
    (account,) = folder.glob("*.jsonl")
    for one in (account, folder / "key", account.with_suffix(".head")):
        (tmp_path / one.name).write_bytes(one.read_bytes())
    edited = tmp_path / account.name
    edited.write_text(edited.read_text().replace('"epsilon":"0.7"', '"epsilon":"0.1"'))
    assert cli.main(["ledger", str(tmp_path)]) == cli.UNREADABLE
    assert account.name in capsys.readouterr().err


def account(folder: str, dataset: str, claim: str, part: int) -> ledger.Ledger:
    """An account whose one claim is a part of one partition."""
    partition = {"partitioner": "iid", "count": 3, "alpha": None, "seed": 7, "index": part}
    reserve = {"type": "reserve", "claim": claim, "parallel": {"part": part}, "parameters": {"partition": partition}}
    record = {"dataset": dataset, "claims": {claim: {"epsilon": "0.7"}}, "entries": [reserve]}
    return ledger.Ledger("digits", Path(folder), f"node:{folder}", record)


def test_parts_of_one_dataset_in_the_ledgers_of_its_clients_count_in_parallel() -> None:
    clients = [account(f"/e{i}", f"hmac-sha256:{i}", f"e{i}-claim", i) for i in range(3)]
    found = ledger.spent(clients)["privacy-budget"]["spent"]["digits"]
    assert [found[f"node:/e{i}"][f"e{i}-claim"]["part"][-2:] for i in range(3)] == [":0", ":1", ":2"]


def test_parts_of_different_data_under_one_name_add_up() -> None:
    found = ledger.spent([account("/e1", "hmac-sha256:1", "a", 0), account("/e1", "hmac-sha256:2", "b", 1)])
    claims = {"a": {"epsilon": "0.7"}, "b": {"epsilon": "0.7"}}
    assert found == {"privacy-budget": {"spent": {"digits": {"node:/e1": claims}}}}


def test_one_claim_id_in_two_ledgers_counts_twice_and_one_ledger_named_twice_once() -> None:
    ours, theirs = account("/e1", "hmac-sha256:1", "a", 0), account("/e2", "hmac-sha256:2", "a", 0)
    found = ledger.spent([ours, theirs, ours])["privacy-budget"]["spent"]["digits"]
    assert {place: list(claims) for place, claims in found.items()} == {"node:/e1": ["a"], "node:/e2": ["a"]}


def test_a_registration_cut_off_by_a_crash_hides_no_account(folder: Path, tmp_path: Path) -> None:
    for one in folder.iterdir():
        if one.is_file():
            (tmp_path / one.name).write_bytes(one.read_bytes())
    (tmp_path / f"{'0' * 64}.jsonl").write_bytes(b'{"seq":0,"dataset":')
    (found,) = ledger.read("digits", tmp_path)
    assert found.record["spent"] == "0.7"


def test_what_an_owner_replaced_is_not_spent_from_the_new_dataset(folder: Path, tmp_path: Path) -> None:
    """A raised budget changes no plan; a closed account counts; one in whose place a new dataset began does not."""
    copy = shutil.copytree(folder, tmp_path / "ledger")
    before = ledger.spent(ledger.read("digits", folder, PLACE))
    signed = ("--ledger", str(copy), "--who", "A. Owner", "--why", "a new cohort")
    p3vc("owner", "raise", *signed, "--budget", "9")
    assert ledger.spent(ledger.read("digits", copy, PLACE)) == before
    p3vc("owner", "close", *signed)
    assert ledger.spent(ledger.read("digits", copy, PLACE)) == before
    p3vc("owner", "begin", *signed)
    assert ledger.spent(ledger.read("digits", copy, PLACE)) == {"privacy-budget": {"spent": {}}}


def test_a_ledger_of_nothing_spends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ledger", str(tmp_path)]) == cli.OK
    assert capsys.readouterr().out.strip() == "nothing registered"
