"""Arguments that would be ignored or misread."""

from __future__ import annotations

import pytest

from tests.p3vc.support import Tool


def estimate(tool: Tool, *more: str) -> tuple[int, str, str]:
    where = ("--data", str(tool.data), "--ledger", str(tool.ledger), "--epsilon", "0.7", "--block", "4")
    return tool.run("estimate", *where, *more)


@pytest.mark.parametrize(
    "more",
    [
        ("--partitioner", "dirichlet"),
        ("--alpha", "0.1"),
        ("--seed", "3"),
        ("--disjoint", "one camera a person"),
        ("--accept-no-claim",),
        ("--accept-no-claim", "--mechanism", "exponential"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(tool: Tool, more: tuple[str, ...]) -> None:
    tool.register()
    for code, out, err in (tool.release("a", "0.7", "out", *more), estimate(tool, *more)):
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"p3vc: {more[0]}: ")
    assert tool.state()["claims"] == {}


def test_parts_have_defaults(tool: Tool) -> None:
    tool.register()
    assert tool.release("a", "0.7", "a", "--partition", "0/2")[0] == 0
    assert tool.release("b", "0.7", "b", "--partition", "0/2", "--partitioner", "dirichlet")[0] == 0
    parts = [tool.manifest(out)["partition"] for out in ("a", "b")]
    assert [(part["partitioner"], part["alpha"], part["seed"]) for part in parts] == [
        ("iid", None, 0),
        ("dirichlet", "0.5", 0),
    ]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--disjoint", "", "says nothing"),
        ("--disjoint", " \t", "says nothing"),
        ("--epsilon", "1_0", "is not a decimal"),
        ("--epsilon", "\uff11", "is not a decimal"),
        ("--epsilon", "٣", "is not a decimal"),
        ("--label-epsilon", "0_1", "is not a decimal"),
        ("--alpha", "1_0", "is not a number from 0.001 to 1e6"),
        ("--alpha", "\uff11", "is not a number from 0.001 to 1e6"),
        ("--alpha", "nan", "is not a number from 0.001 to 1e6"),
        ("--alpha", "sNaN", "is not a number from 0.001 to 1e6"),
        ("--seed", "1_0", "is not an integer"),
        ("--seed", "9" * 5000, "is not an integer"),
        ("--block", "²", "is not an integer"),
        ("--partition", "0/²", "is not INDEX/COUNT"),
        ("--partition", "\u0660/2", "is not INDEX/COUNT"),
        ("--partition", "2/2", "is not INDEX/COUNT"),
    ],
)
def test_numbers_are_written_in_plain_digits(tool: Tool, option: str, value: str, says: str) -> None:
    tool.register()
    code, out, err = tool.release("a", "0.7", "out", option, value)
    assert (code, out, err.count("\n")) == (2, "", 2)
    assert err.startswith(f"p3vc release: error: argument {option}: ")
    assert says in err


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--range", "²:3", "is not LOW:HIGH"),
        ("--range", "\u0660:3", "is not LOW:HIGH"),
        ("--shape", "3x²x2", "is not CxHxW"),
        ("--delta", "0.0_1", "is not a decimal"),
        ("--budget", "\uff11", "is not a decimal"),
    ],
)
def test_terms_are_written_in_plain_digits(tool: Tool, option: str, value: str, says: str) -> None:
    code, _, err = tool.register(option, value)
    assert (code, err.count("\n")) == (2, 2)
    assert f"argument {option}: {value!r} {says}" in err


@pytest.mark.parametrize("same", ["1e-5", "0.00001", "0.000010", "10E-6", "1.0e-5"])
def test_equal_deltas_are_the_same_terms(tool: Tool, same: str) -> None:
    tool.register("--delta", "1e-5")
    code, out, err = tool.register("--delta", same)
    assert (code, err) == (0, "")
    assert "already registered" in out


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("nothing",),
        ("release",),
        ("release", "--epsilon", "0\n1"),
        ("verify", "--release", "x", "--nothing", "a\nb"),
        ("audit", "--mechanism", "none"),
    ],
)
def test_a_wrong_argument_takes_two_lines(tool: Tool, argv: tuple[str, ...]) -> None:
    code, out, err = tool.run(*argv)
    first, second = err.splitlines()
    assert (code, out) == (2, "")
    assert first.startswith("p3vc") and ": error: " in first
    assert "--help" in second
