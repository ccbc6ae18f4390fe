"""What a testbed declares is what the policy reads back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.composition import Charge
from contract.partition import Partition
from testbed import argv, commands
from testbed import contract as c
from testbed.argv import UnprovenError

EPSILONS = st.decimals(min_value="1e-12", max_value=1000, places=12)
DELTAS = st.decimals(min_value="1e-30", max_value="0.5", places=30)
RELEASES = st.builds(
    commands.Release,
    client=st.just("e1"),
    dataset=st.just("digits"),
    epsilon=EPSILONS,
    mechanism=st.sampled_from(argv.MECHANISMS),
    block=st.just(2),
    neighbourhood=st.just(1),
    labels=st.just("public"),
    label_epsilon=st.none(),
    partition=st.none()
    | st.builds(
        Partition.of,
        st.sampled_from([0, 3]),
        st.just(4),
        st.sampled_from(["iid", "dirichlet"]),
        st.floats(0.001, 1e6),
        st.integers(0, 2**63 - 1),
    ),
    format=st.just("npz"),
    number=st.just(1),
    disjoint=st.sampled_from([None, "each image is of another person"]),
)
GRANTS = st.builds(
    commands.Grant,
    release=RELEASES,
    run=st.just("0123456789ab"),
    epsilon=EPSILONS,
    delta=DELTAS,
    rounds=st.integers(1, 10**6),
    clipping_norm=st.floats(1e-6, 1e6),
)


@given(RELEASES)
def test_a_release(release: commands.Release) -> None:
    read = argv.parse(commands.p3vc_release(release))
    assert isinstance(read, argv.Spend)
    assert (read.data, read.out, read.ledger) == (c.MOUNT_RAW, c.MOUNT_PRIVATE, c.MOUNT_LEDGER)
    assert (read.claim, read.cost, read.mechanism) == (release.claim, Charge(release.epsilon), release.mechanism)
    _same_part(read, release)


@given(GRANTS)
def test_a_grant(grant: commands.Grant) -> None:
    read = argv.parse(commands.p3vc_grant(grant))
    assert isinstance(read, argv.Grant)
    assert (read.data, read.out, read.ledger) == (c.MOUNT_RAW, c.MOUNT_PRIVATE, c.MOUNT_LEDGER)
    assert (read.claim, read.mechanism) == ("e1-training-0123456789ab", "gaussian")
    assert read.cost == Charge.of_run("0123456789ab", grant.epsilon, grant.delta)
    _same_part(read, grant.release)


def _same_part(read: argv.Spend | argv.Grant, release: commands.Release) -> None:
    disjoint = None if release.partition is None else release.disjoint
    assert (read.partition, read.disjoint) == (release.partition, disjoint)


@given(GRANTS)
def test_a_grant_is_of_the_same_part_as_its_release(grant: commands.Grant) -> None:
    spent, granted = argv.parse(commands.p3vc_release(grant.release)), argv.parse(commands.p3vc_grant(grant))
    assert isinstance(spent, argv.Spend)
    assert isinstance(granted, argv.Grant)
    assert (spent.partition, spent.disjoint) == (granted.partition, granted.disjoint)


WHOLE = ["p3vc", "grant", "--data", "/raw", "--ledger", "/ledger", "--out", "/private", "--claim", "e1-training-a"]
WHOLE += ["--grant", "a", "--epsilon", "0.3", "--delta", "1e-6", "--rounds", "3", "--clipping-norm", "1.0"]


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--delta", "0", "above 0"),
        ("--delta", "0.51", "from 1E-30 to 0.5"),
        ("--delta", "1e-31", "from 1E-30 to 0.5"),
        ("--delta", "little", "not a number"),
        ("--delta", None, "--delta is missing"),
        ("--epsilon", "NaN", "above 0"),
        ("--epsilon", "1001", "above 1000"),
        ("--epsilon", None, "--epsilon is missing"),
        ("--rounds", "0", "whole number above 0"),
        ("--rounds", "1.5", "whole number above 0"),
        ("--rounds", None, "--rounds is missing"),
        ("--grant", None, "--grant is missing"),
        ("--mechanism", "laplace", "not an option"),
        ("--labels", "public", "not an option"),
        ("--partition", "4/4", "INDEX/COUNT"),
    ],
)
def test_a_grant_that_does_not_say_what_it_costs_is_not_proved(flag: str, value: str | None, says: str) -> None:
    words = list(WHOLE)
    if flag in words:
        at = words.index(flag)
        del words[at : at + 2]
    with pytest.raises(UnprovenError, match=says):
        argv.parse([*words, flag, value] if value is not None else words)


def test_the_whole_is_read() -> None:
    read = argv.parse(WHOLE)
    assert isinstance(read, argv.Grant)
    assert (read.cost.epsilon, read.cost.delta) == (Decimal("0.3"), Decimal("1e-6"))


@pytest.mark.parametrize("option", ["data", "out", "ledger"])
@pytest.mark.parametrize("path", ["raw", "//raw", "/raw/", "/raw/.", "/a/../raw"])
def test_a_folder_is_told_in_one_way(option: str, path: str) -> None:
    words = ["p3vc", "release", "--mechanism", "laplace", "--epsilon", "1", "--labels", "public", "--claim", "a"]
    for name in ("data", "out", "ledger"):
        words += [f"--{name}", path if name == option else f"/{name}"]
    with pytest.raises(UnprovenError, match=f"--{option} .* plain form"):
        argv.parse(words)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"workingDir": "/private"}, ("workingDir",)),
        ({"restartPolicy": "Always"}, ("restartPolicy",)),
        ({"anyFieldToCome": [1]}, ("anyFieldToCome",)),
        ({"terminationMessagePath": "/ledger/x"}, ("terminationMessagePath",)),
        ({"env": [{"name": "PATH", "value": "/x"}]}, ("env", 0)),
        ({"env": [{"name": "HOME", "value": "/raw"}]}, ("env", 0)),
        ({"env": [{"name": "TZ", "valueFrom": {}}]}, ("env", 0)),
    ],
)
def test_what_decides_beside_the_argv(said: dict[str, object], field: tuple[str | int, ...]) -> None:
    assert [found[0] for found in argv.doubts(said)] == [field]


def test_what_decides_nothing() -> None:
    env = [
        {"name": "HOME", "value": c.MOUNT_HOME},
        {"name": "TMPDIR", "value": argv.SCRATCH[1]},
        {"name": "TZ", "value": "UTC"},
    ]
    assert not [*argv.doubts({"name": "x", "env": env, "ports": [], "terminationMessagePath": c.TERMINATION_LOG})]
