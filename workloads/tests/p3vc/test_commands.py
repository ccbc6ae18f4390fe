"""The argv that a testbed declares for its jobs, parsed and run by the tool itself."""

from __future__ import annotations

import importlib
import json
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from contract.files import TRAINING
from contract.partition import Partition
from p3vc import cli
from tests.p3vc.support import Tool


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``testbed.commands`` from the repository's root, which is another environment's package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    for name in [name for name in sys.modules if name.partition(".")[0] == "testbed"]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("testbed.commands")


def test_declared_jobs_run(commands: ModuleType, tool: Tool) -> None:
    release = commands.Release(
        client="c1", dataset="digits", epsilon=Decimal("0.7"), mechanism="laplace", block=4, neighbourhood=2,
        labels="public", label_epsilon=None, partition=Partition.of(0, 2, "dirichlet", 0.5, 7),
        format="auto", number=1, disjoint="one camera a person",
    )  # fmt: skip
    places = {
        "/raw": tool.data,
        "/ledger": tool.ledger,
        "/private": tool.folder / "out",
        "/seeds": tool.folder / "seeds",
    }
    places["/dev/termination-log"] = tool.folder / "termination"

    def run(argv: list[str]) -> int:
        assert argv[0] == "p3vc"
        return cli.main([str(places.get(argument, argument)) for argument in argv[1:]])

    grant = commands.Grant(
        release=release, run="0123456789ab", epsilon=Decimal("0.3"), delta=Decimal("1E-6"), rounds=10, clipping_norm=1.0
    )
    assert run(commands.p3vc_register(Decimal("1.0"), "basic", Decimal("1E-6"), 10, 2)) == 0
    assert run(commands.p3vc_verify(release)) == 2
    assert run(commands.p3vc_release(release)) == 0
    assert run(commands.p3vc_release(release)) == 0
    assert run(commands.p3vc_verify(release)) == 0
    assert run(commands.p3vc_grant(grant)) == 0
    assert run(commands.p3vc_grant(grant)) == 0
    tool.run("ledger", "--ledger", str(tool.ledger))  # takes what the jobs printed
    assert {tool.state()["claims"][claim]["part"] for claim in (release.claim, grant.claim)} == {0}
    assert tool.state()["remaining"] == "0"
    assert json.loads((tool.folder / "termination").read_text())["claim"] == grant.claim
    assert json.loads((tool.folder / "out" / TRAINING).read_text())["grant"] == grant.run


@pytest.mark.parametrize("mechanism", ["laplace", "exponential", "paper"])
@pytest.mark.parametrize("partitioner", ["iid", "dirichlet", "none"])
@pytest.mark.parametrize("private", [False, True])
def test_every_declared_release_parses(commands: ModuleType, mechanism: str, partitioner: Any, private: bool) -> None:
    release = commands.Release(
        client="c1", dataset="cifar10", epsilon=Decimal("1E-12"), mechanism=mechanism, block=8, neighbourhood=16,
        labels="private" if private else "public", label_epsilon=Decimal("0.25") if private else None,
        partition=None if partitioner == "none" else Partition.of(3, 10, partitioner, 1e-3, 2**63 - 1),
        format="cifar10", number=2,
    )  # fmt: skip
    args = cli._parser().parse_args(commands.p3vc_release(release)[1:])
    assert (args.claim, args.epsilon, args.mechanism) == (release.claim, Decimal("1E-12"), mechanism)
    terms = commands.p3vc_register(Decimal("10"), "zcdp", Decimal("1E-5"), 10, 16)
    assert cli._parser().parse_args(terms[1:]).delta == Decimal("1E-5")


@pytest.mark.parametrize("split", [True, False])
def test_every_declared_grant_parses(commands: ModuleType, split: bool) -> None:
    release = commands.Release(
        client="c1", dataset="cifar10", epsilon=Decimal("0.7"), mechanism="laplace", block=8, neighbourhood=16,
        labels="public", label_epsilon=None,
        partition=Partition.of(3, 10, "dirichlet", 0.5, 2**63 - 1) if split else None, format="cifar10",
        number=2, disjoint="one camera a person" if split else None,
    )  # fmt: skip
    grant = commands.Grant(release, "ba9876543210", Decimal("1E-12"), Decimal("1E-30"), 1000, 1e-6)
    args = cli._parser().parse_args(commands.p3vc_grant(grant)[1:])
    assert (args.claim, args.grant) == ("c1-training-ba9876543210", "ba9876543210")
    assert (args.epsilon, args.delta) == (Decimal("1E-12"), Decimal("1E-30"))
    assert (args.rounds, args.clipping_norm, args.format) == (1000, 1e-6, "cifar10")
    assert (args.partition, args.disjoint) == (((3, 10), "one camera a person") if split else (None, None))
