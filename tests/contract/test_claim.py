"""``claim/v1``: names that ledgers have, and that must never change."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import claim
from contract.partition import PARTITIONERS, Partition
from testbed import placement
from testbed.releases import release
from tests.components.rendering import spec

WHOLE: dict[str, Any] = {
    "dataset": "digits",
    "file_format": "npz",
    "mechanism": "laplace",
    "epsilon": Decimal("0.7"),
    "block": 2,
    "neighbourhood": 1,
    "label_epsilon": None,
    "partition": None,
    "number": 1,
}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "e1-0530f4b3972a"),
        ({"label_epsilon": Decimal("0.1")}, "e1-06885df743d1"),
        ({"partition": Partition.of(1, 4, "iid", None, 3)}, "e1-80a273df5dbd"),
        ({"partition": Partition.of(1, 4, "dirichlet", 1.0, 7)}, "e1-0b8f6852fb5d"),
        ({"number": 2}, "e1-0f314aaf48a6"),
    ],
)
def test_golden_names_of_the_first_version(change: dict[str, Any], name: str) -> None:
    """Recorded with the version before ``claim/v1``: its ledgers hold these."""
    assert claim.release("e1", **{**WHOLE, **change}) == name


@pytest.mark.parametrize(
    ("stack", "names"),
    [
        ("lab", ["e1-ebf26410f156", "e3-7ebd53a0b354", "e4-00d875f0609b"]),
        ("cloud-edge", ["c1-df3ac852f567", "c2-5247c27ac5d8", "c3-3d75a6f21a79"]),
    ],
)
def test_the_shipped_stacks_release_nothing_again(stack: str, names: list[str]) -> None:
    testbed = spec(stack)
    made = [release(testbed, one) for one in placement.clients(testbed)]
    assert [one.claim for one in made[:3]] == names
    assert not any(one.formerly for one in made)


@given(st.decimals("0.001", "1000", places=3), st.integers(0, 6))
def test_equal_epsilons_are_one_claim(epsilon: Decimal, zeros: int) -> None:
    longer = Decimal(f"{epsilon}{'0' * zeros}")
    assert claim.release("e1", **{**WHOLE, "epsilon": longer}) == claim.release("e1", **{**WHOLE, "epsilon": epsilon})


@given(st.floats(0.001, 1e6))
def test_alpha_counts_only_where_it_deals_records(alpha: float) -> None:
    def named(partitioner: Any, concentration: float | None) -> str:
        part = Partition.of(0, 4, partitioner, concentration, 7)
        return claim.release("e1", **{**WHOLE, "partition": part})

    assert named("iid", alpha) == named("iid", None)
    assert (named("dirichlet", alpha) == named("dirichlet", None)) == (alpha == 0.5)


def test_a_name_that_the_first_version_wrote_otherwise_is_kept_beside_the_new_one() -> None:
    """It digested alpha of an iid partition, too; the ledger goes on with the claim under that name."""
    plain, odd = spec("lab", dataset__partition="iid"), spec("lab", dataset__partition="iid", dataset__alpha=3.0)
    first, second = (release(one, placement.clients(one)[0]) for one in (plain, odd))
    assert first.claim == second.claim
    assert first.formerly != second.formerly
    assert claim.named("e1", _written("0.70")) == "e1-a8a3841e36f6"


def _written(epsilon: str) -> dict[str, object]:
    named = {key: WHOLE[key] for key in ("dataset", "mechanism", "block", "neighbourhood", "number", "label_epsilon")}
    rest = {"partition": None, "partitioner": "none", "alpha": 0.5, "seed": 7}
    return {"client": "e1", "epsilon": epsilon, "labels": "public", "format": "npz", **rest, **named}


parts = st.builds(
    Partition.of,
    st.integers(0, 2),
    st.integers(3, 4),
    st.sampled_from(PARTITIONERS),
    st.sampled_from([None, 0.5, 1.0]),
    st.sampled_from([None, 0, 7]),
)


@given(parts, parts)
def test_a_partition_has_one_name_and_the_name_one_partition(one: Partition, other: Partition) -> None:
    assert (one.name == other.name) == (one == other)
    assert one.name == f"{one.scheme}:{one.index}"
