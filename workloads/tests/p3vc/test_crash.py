from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from p3vc import cli
from tests.p3vc.crash_driver import DIED
from tests.p3vc.support import Tool


@pytest.fixture(scope="module")
def crashes() -> dict[str, Any]:
    driver = Path(__file__).with_name("crash_driver.py")
    memory = Path("/dev/shm")  # noqa: S108 - every attempt syncs files a dozen times
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as work:
        argv = [sys.executable, str(driver), work]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_release_killed_at_any_call_never_under_charges_and_never_corrupts(
    crashes: dict[str, list[dict[str, Any]]],
) -> None:
    attempts = crashes["release"]
    assert len(attempts) > 40
    assert [a["code"] for a in attempts] == [DIED] * (len(attempts) - 1) + [0]
    for a in attempts:
        spent = a["left"]["spent"]
        assert spent in ("0", "0.6"), a
        if a["read"] or a["shown_bytes"] or a["manifest"]:  # anything that may have been seen was paid for first
            assert spent == "0.6", a
            assert a["left"]["claims"]["a"] in ("committed", "complete"), a
        if a["manifest"]:
            assert a["verified"] == 0, a
        assert a["again"] == 0, a
        assert a["after"] == {"spent": "0.6", "claims": {"a": "complete"}}, a
        assert a["same_noise"], a
        assert (a["leftovers"], a["seeds"]) == ([], []), a
    stages = {a["left"]["claims"].get("a") for a in attempts}
    assert stages == {None, "reserved", "committed", "complete"}
    assert any(a["shown_bytes"] > 0 and not a["manifest"] for a in attempts)


def test_no_backup_of_the_ledger_undoes_the_noise(crashes: dict[str, Any]) -> None:
    """Whatever the folder held at any moment of a release, as it is, in part, in hexadecimal or hashed, is no seed."""
    backup = crashes["backup"]
    assert backup["code"] == 0
    assert backup["copies"] >= 8
    assert backup["tried"] > 1000
    assert backup["undone"] == []


def test_a_grant_killed_at_any_call_never_under_charges(crashes: dict[str, list[dict[str, Any]]]) -> None:
    attempts = crashes["grant"]
    assert len(attempts) > 20
    assert [a["code"] for a in attempts] == [DIED] * (len(attempts) - 1) + [0]
    for a in attempts:
        assert not a["read"], a
        assert a["left"]["spent"] in ("0.3", "0.9"), a
        assert a["granted"] in (None, a["final"]), a  # whole or absent
        if a["granted"]:
            assert a["left"]["spent"] == "0.9", a
            assert a["left"]["claims"]["t"] in ("committed", "complete"), a
        assert a["again"] == 0, a
        assert a["after"] == {"spent": "0.9", "claims": {"a": "complete", "t": "complete"}}, a
    assert {a["left"]["claims"].get("t") for a in attempts} == {None, "reserved", "committed", "complete"}
    assert any(a["granted"] and a["left"]["claims"]["t"] == "committed" for a in attempts)


def test_a_registration_killed_at_any_call_can_be_run_again(crashes: dict[str, list[dict[str, Any]]]) -> None:
    attempts = crashes["register"]
    assert len(attempts) > 10
    for a in attempts:
        assert a["again"] == 0, a
        assert a["after"] == {"spent": "0", "claims": {}}, a


def _release(folder: str, claim: str, out: str) -> int:
    argv = ["release", "--data", f"{folder}/raw.npz", "--out", f"{folder}/{out}", "--ledger", f"{folder}/ledger"]
    return cli.main([*argv, "--claim", claim, "--epsilon", "0.7", "--block", "4", "--neighbourhood", "2"])


def test_jobs_at_once_never_exceed_the_budget(tool: Tool) -> None:
    tool.register()
    jobs = [(str(tool.folder), f"c{i}", f"out{i}") for i in range(6)]
    with get_context("spawn").Pool(3) as pool:
        codes = pool.starmap(_release, jobs, chunksize=1)
        pool.close()
        pool.join()
    assert sorted(codes) == [0, 0, 3, 3, 3, 3]  # 2.0 pays for two of 0.7
    assert tool.state()["spent"] == "1.4"
    released = [i for i in range(6) if (tool.folder / f"out{i}" / "manifest.json").exists()]
    assert [f"c{i}" for i in released] == sorted(tool.state()["claims"])


def _grant(folder: str, claim: str, out: str) -> int:
    argv = ["grant", "--data", f"{folder}/raw.npz", "--out", f"{folder}/{out}", "--ledger", f"{folder}/ledger"]
    argv += ["--claim", claim, "--grant", f"{claim[1:]:>012}", "--epsilon", "0.5", "--delta", "1e-6"]
    return cli.main([*argv, "--rounds", "3", "--clipping-norm", "1"])


@pytest.mark.parametrize(("delta", "admitted"), [("1e-5", 4), ("2.5e-6", 2)])
def test_grants_at_once_never_exceed_budget_or_delta(tool: Tool, delta: str, admitted: int) -> None:
    tool.register("--delta", delta, budget="2.000006")
    for number in range(6):  # a grant belongs to a release; these cost next to nothing
        assert tool.release(f"of-c{number}", "0.000001", f"out{number}")[0] == 0
    with get_context("spawn").Pool(3) as pool:
        codes = pool.starmap(_grant, [(str(tool.folder), f"c{i}", f"out{i}") for i in range(6)], chunksize=1)
        pool.close()
        pool.join()
    assert sorted(codes) == [0] * admitted + [3] * (6 - admitted)
    state = tool.state()
    assert Decimal(state["spent"]) == Decimal("0.5") * admitted + Decimal("0.000006")
    assert Decimal(state["delta_spent"]) == Decimal("1e-6") * admitted <= Decimal(delta)
    granted = [i for i in range(6) if (tool.folder / f"out{i}" / "training.json").exists()]
    assert [f"c{i}" for i in granted] == sorted(name for name in state["claims"] if not name.startswith("of-"))


def test_the_same_claim_at_once_is_one_release(tool: Tool) -> None:
    tool.register()
    with get_context("spawn").Pool(3) as pool:
        codes = pool.starmap(_release, [(str(tool.folder), "a", "out")] * 3, chunksize=1)
        pool.close()
        pool.join()
    assert codes == [0, 0, 0]
    assert tool.state()["spent"] == "0.7"
    assert tool.run("verify", "--release", str(tool.folder / "out"), "--claim", "a")[0] == 0
