"""One accountant: policy, ledger and outputs say the same of the same history."""

from __future__ import annotations

import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from components.render import render
from contract.composition import COMPOSITIONS
from contract.decimals import plain
from testbed import ledger, outputs
from testbed.manifests import Object
from testbed.rules.config import parse
from testbed.rules.context import Context
from testbed.rules.privacy_budget import accounts
from tests.components.rendering import spec

DELTA = "1e-5"
HISTORIES = {
    "one release": [("0.7", None)],
    "releases": [("0.1", None), ("0.25", None), ("0.3", None)],
    "a run": [("0.4", None), ("0.3", "a" * 12)],
    "two grants of one run": [("0.4", None), ("0.3", "a" * 12), ("0.3", "a" * 12)],
    "two runs": [("0.4", None), ("0.3", "a" * 12), ("0.3", "b" * 12)],
}


def p3vc(*argv: str) -> str:
    return subprocess.run([ledger.P3VC, *argv], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    p3vc("dataset", "synthetic", "--out", str(folder / "raw.npz"), "--count", "50", "--shape", "1x8x8")
    return folder / "raw.npz"


@pytest.mark.parametrize("rule", COMPOSITIONS)
@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_policy_and_ledger_agree(data: Path, tmp_path: Path, rule: Any, history: list[tuple[str, str | None]]) -> None:
    """The ledger is the real one, written by the commands; the policy reads it as it reads every ledger."""
    where = ("--data", str(data), "--ledger", str(tmp_path / "ledger"))
    p3vc("register", *where, "--budget", "100", "--composition", rule, "--delta", DELTA)
    for number, (epsilon, run) in enumerate(history):
        out = ("--out", str(tmp_path / "out"), "--claim", f"c-{number}", "--epsilon", epsilon)
        if run is None:
            p3vc("release", *where, *out)
        else:
            p3vc("grant", *where, *out, "--grant", run, "--delta", "1e-6", "--rounds", "3", "--clipping-norm", "1")
    (book,) = ledger.read("digits", tmp_path / "ledger")
    config = parse({"privacy-budget": {"composition": rule, "delta": DELTA, **ledger.spent([book])["privacy-budget"]}})
    ((planned,), problems) = accounts(Context([], config))
    assert not problems
    assert planned.epsilon == Decimal(book.record["spent"])
    if rule == "basic":
        assert planned.total.delta == Decimal(book.record["delta_spent"])


@pytest.mark.parametrize("rule", COMPOSITIONS)
@pytest.mark.parametrize("partition", ["none", "iid", "dirichlet"])
@pytest.mark.parametrize("asserted", [True, False])
@pytest.mark.parametrize("noisy", [True, False])
def test_policy_and_outputs_agree(rule: Any, partition: str, asserted: bool, noisy: bool) -> None:
    changes: dict[str, Any] = {"dataset__partition": partition, "privacy__composition": rule, "privacy__delta": DELTA}
    if not asserted or partition == "none":
        changes["privacy__disjoint"] = None
    if noisy:
        changes |= {"federation__training_dp__epsilon": 0.3, "federation__training_dp__delta": 1e-6}
    testbed = spec("lab", **changes)
    config = parse({"privacy-budget": {"composition": rule, "delta": DELTA}})
    ((planned,), _) = accounts(Context([Object(one) for one in render(testbed)], config))
    told = outputs.privacy(testbed)["datasets"]["digits"]
    training = told["training"]
    assert (planned.training is None) == (training is None) == (not noisy)
    if planned.training is None:
        assert told["epsilon"] == plain(planned.epsilon)
    else:
        assert training == {
            "epsilon": plain(planned.training.epsilon),
            "delta": plain(planned.training.delta),
        }
