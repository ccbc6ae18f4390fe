"""The argv that a testbed declares for its jobs, parsed and run by the tool itself."""

from __future__ import annotations

import importlib
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

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
        labels="public", label_epsilon=None, partition=(0, 2), partitioner="dirichlet", alpha=0.5, seed=7,
        format="auto", number=1, disjoint="one camera a person",
    )  # fmt: skip
    places = {"/raw": tool.data, "/ledger": tool.ledger, "/private": tool.folder / "out"}
    places["/dev/termination-log"] = tool.folder / "termination"

    def run(argv: list[str]) -> int:
        assert argv[0] == "p3vc"
        return cli.main([str(places.get(argument, argument)) for argument in argv[1:]])

    assert run(commands.p3vc_register(Decimal("0.7"), "basic", None)) == 0
    assert run(commands.p3vc_verify(release.claim)) == 2
    assert run(commands.p3vc_release(release)) == 0
    assert run(commands.p3vc_release(release)) == 0
    assert run(commands.p3vc_verify(release.claim)) == 0
    tool.run("ledger", "--ledger", str(tool.ledger))  # takes what the jobs printed
    assert tool.state()["claims"][release.claim]["part"] == 0
    assert (tool.folder / "termination").exists()


@pytest.mark.parametrize("mechanism", ["laplace", "exponential", "paper"])
@pytest.mark.parametrize("partitioner", ["iid", "dirichlet", "none"])
@pytest.mark.parametrize("private", [False, True])
def test_every_declared_release_parses(commands: ModuleType, mechanism: str, partitioner: str, private: bool) -> None:
    release = commands.Release(
        client="c1", dataset="cifar10", epsilon=Decimal("1E-12"), mechanism=mechanism, block=8, neighbourhood=16,
        labels="private" if private else "public", label_epsilon=Decimal("0.25") if private else None,
        partition=None if partitioner == "none" else (3, 10), partitioner=partitioner, alpha=1e-3, seed=2**63 - 1,
        format="cifar10", number=2,
    )  # fmt: skip
    args = cli._parser().parse_args(commands.p3vc_release(release)[1:])
    assert (args.claim, args.epsilon, args.mechanism) == (release.claim, Decimal("1E-12"), mechanism)
    terms = commands.p3vc_register(Decimal("10"), "zcdp", Decimal("1E-5"))
    assert cli._parser().parse_args(terms[1:]).delta == Decimal("1E-5")
