"""What reports say in the cases that are no everyday ones."""

from __future__ import annotations

import pytest

from tests.p3vc.support import Tool

GRANT = ("--grant", "0123456789ab", "--epsilon", "1", "--delta", "1e-5", "--rounds", "3", "--clipping-norm", "1")


def estimate(tool: Tool, *more: str) -> tuple[int, str, str]:
    where = ("--data", str(tool.data), "--ledger", str(tool.ledger), "--epsilon", "0.7", "--block", "4")
    return tool.run("estimate", *where, *more)


def test_an_estimate_admits_what_a_release_does(tool: Tool) -> None:
    tool.register("--classes", "5")
    more = ("--labels", "private", "--label-epsilon", "0.5", "--partition", "0/2", "--partitioner")
    refusals = [tool.release("a", "0.7", "out", *more, "dirichlet"), estimate(tool, *more, "dirichlet")]
    assert [code for code, _, _ in refusals] == [2, 2]
    assert refusals[0][2] == refusals[1][2]
    assert "admitted" in estimate(tool, *more, "iid")[1]


@pytest.mark.parametrize("composition", ["basic", "advanced", "zcdp"])
def test_a_ledger_without_a_finite_figure_is_shown(tool: Tool, composition: str) -> None:
    tool.register("--composition", composition, "--delta", "2e-5" if composition == "basic" else "1e-5", budget="10")
    for claim in ("a", "b"):
        where = ("--data", str(tool.data), "--out", str(tool.folder / claim), "--ledger", str(tool.ledger))
        assert tool.release(f"of-{claim}", "0.1", claim)[0] == 0
        assert tool.run("grant", *where, "--claim", claim, *GRANT)[0] == 0
    assert tool.release("c", "0.7", "out", "--mechanism", "paper", "--accept-no-claim")[0] == 0
    code, out, err = tool.run("ledger", "--ledger", str(tool.ledger))
    assert (code, err) == (0, "")
    assert f"spent      unbounded   (tightest valid figure: unbounded, {composition})" in out
