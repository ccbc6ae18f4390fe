"""What decides a claim, and what argv says; ``workloads/tests`` reads each argv with the programs' own parsers."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest

from contract.partition import Partition
from testbed import commands
from testbed import contract as c

RELEASE = commands.Release(
    client="e1",
    dataset="digits",
    epsilon=Decimal("0.7"),
    mechanism="laplace",
    block=2,
    neighbourhood=1,
    labels="private",
    label_epsilon=Decimal("0.1"),
    partition=Partition.of(0, 4, "dirichlet", 0.5, 7),
    format="npz",
    number=1,
)
OTHER: dict[str, Any] = {
    "client": "e2",
    "dataset": "cifar10",
    "epsilon": Decimal("0.6"),
    "mechanism": "exponential",
    "block": 4,
    "neighbourhood": 2,
    "labels": "public",
    "label_epsilon": None,
    "partition": Partition.of(1, 4, "dirichlet", 1.0, 8),
    "format": "folder",
    "number": 2,
}


# An assertion changes no released byte, and labels are private exactly where they have an epsilon.
UNNAMED = ("disjoint", "formerly", "labels")


def test_the_same_parameters_are_the_same_claim() -> None:
    assert replace(RELEASE).claim == RELEASE.claim
    assert RELEASE.claim.startswith("e1-")


@pytest.mark.parametrize("field", [f.name for f in fields(commands.Release) if f.name not in UNNAMED])
def test_any_other_parameter_is_another_claim(field: str) -> None:
    assert replace(RELEASE, **{field: OTHER[field]}).claim != RELEASE.claim


def test_rewording_the_disjointness_assertion_is_the_same_claim() -> None:
    assert replace(RELEASE, disjoint="each image is of another person").claim == RELEASE.claim


def test_private_labels_are_part_of_the_price() -> None:
    assert RELEASE.total_epsilon == Decimal("0.8")
    assert replace(RELEASE, label_epsilon=None).total_epsilon == Decimal("0.7")


def test_a_release_says_everything_it_spends() -> None:
    argv = commands.p3vc_release(RELEASE)
    options = dict(zip(argv[2::2], argv[3::2], strict=True))
    assert options["--claim"] == RELEASE.claim
    assert (options["--epsilon"], options["--label-epsilon"]) == ("0.7", "0.1")
    assert options["--partition"] == "0/4"
    assert (options["--data"], options["--ledger"], options["--out"]) == (c.MOUNT_RAW, c.MOUNT_LEDGER, c.MOUNT_PRIVATE)
    assert "--partition" not in commands.p3vc_release(replace(RELEASE, partition=None))


def test_a_grant_says_what_the_run_is_told() -> None:
    grant = commands.Grant(RELEASE, "0123456789ab", Decimal("0.30"), Decimal("1E-7"), 10, 1.0)
    argv = commands.p3vc_grant(grant)
    options = dict(zip(argv[2::2], argv[3::2], strict=True))
    assert (options["--claim"], options["--grant"]) == ("e1-training-0123456789ab", "0123456789ab")
    assert (options["--epsilon"], options["--delta"]) == ("0.3", "0.0000001")  # one spelling of a number
    assert (options["--rounds"], options["--clipping-norm"]) == ("10", "1.0")
    assert (options["--partition"], options["--format"]) == ("0/4", "npz")
    assert (options["--data"], options["--ledger"], options["--out"]) == (c.MOUNT_RAW, c.MOUNT_LEDGER, c.MOUNT_PRIVATE)


def test_a_delta_is_given_only_where_there_is_one() -> None:
    assert "--delta" not in commands.p3vc_register(Decimal("0.7"), "basic", None, 10, 16)
    assert commands.p3vc_register(Decimal("0.7"), "zcdp", Decimal("1e-5"), 10, 16)[-2:] == ["--delta", "0.00001"]


def test_the_control_connection_is_authenticated_and_the_executors_are_on_loopback() -> None:
    assert "--enable-supernode-auth" in commands.superlink(8080)
    assert "--insecure" not in [*commands.superlink(8080), *commands.supernode("10.0.0.2:8080", "e1", 1)]
    for argv in (commands.server_superexec(8080), commands.client_superexec()):
        assert argv[argv.index("--runtime-api-address") + 1].startswith("127.0.0.1:")
