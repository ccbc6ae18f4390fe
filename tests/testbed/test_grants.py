"""What a run is told, and what names the grants it needs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from components.render import render
from testbed import grants, placement
from testbed.releases import release
from testbed.spec import Testbed
from tests.components.rendering import config, spec

DP = {"federation__training_dp__epsilon": 0.3, "federation__training_dp__delta": 1e-6, "privacy__delta": 1e-6}
CLIENTS = config("lab")["kubeflower:clients"]["list"]


def build(**changes: Any) -> Testbed:
    return spec("lab", **{**DP, **changes})


def run(testbed: Testbed) -> str:
    """Name of the run's Job."""
    (job,) = [m for m in render(testbed) if m["kind"] == "Job" and m["metadata"]["namespace"] == "lab-server"]
    return str(job["metadata"]["name"])


@pytest.fixture(scope="module")
def named() -> tuple[str, str]:
    """The run and the grant of the testbed without changes."""
    return run(build()), granted(build())


def granted(testbed: Testbed) -> str:
    """Digest that all clients grant."""
    (digest,) = {grant.run for grant in (grants.grant(testbed, one) for one in placement.clients(testbed)) if grant}
    return digest


def test_without_training_dp_nothing_is_granted_and_a_run_is_told_nothing_of_it() -> None:
    testbed = spec("lab")
    assert all(grants.grant(testbed, one) is None for one in placement.clients(testbed))
    told = grants.config(testbed)
    assert not [key for key in told if "training" in key or "clip" in key or "grant" in key]
    assert told["learning-rate"] == 0.05
    assert "image" not in told


def test_a_run_is_told_what_the_clients_grant() -> None:
    testbed = build()
    (one, *_) = placement.clients(testbed)
    grant = grants.grant(testbed, one)
    assert grant
    told = grants.config(testbed)
    assert told["grant"] == grant.run == granted(testbed)
    assert (told["training-epsilon"], told["training-delta"], told["clipping-norm"]) == ("0.3", "0.000001", 1.0)
    assert (grant.epsilon, grant.delta, grant.rounds) == (Decimal("0.3"), Decimal("0.000001"), told["rounds"])
    assert grant.claim == f"e1-training-{grant.run}"
    assert grant.release == release(testbed, one)


@pytest.mark.parametrize(
    "changes",
    [
        {"federation__training_dp__number": 2},
        {"federation__training_dp__epsilon": 0.2},
        {"federation__training_dp__delta": 1e-7},
        {"federation__training_dp__clipping_norm": 0.5},
        {"federation__rounds": 4},
        {"federation__learning_rate": 0.01},
        {"federation__strategy": "fedprox"},
        {"federation__seed": 8},
        {"federation__image": "ghcr.io/kubeflower/workloads:0.2.0"},
        {"privacy__epsilon": 0.5},
        {"privacy__release": 2},
        {"dataset__seed": 8},
        {"clients__list": CLIENTS[:2]},
        {"clients__list": [{**CLIENTS[0], "key": 2}, *CLIENTS[1:]]},
        {"capacity": 5},
        {"server__port": 9000},
        {"server__node": "E2"},
        {"server__image_pull_policy": "Always"},
        {"network__server": "10.61.0.0/24"},
    ],
    ids=str,
)
def test_whatever_makes_another_run_needs_another_grant(named: tuple[str, str], changes: dict[str, Any]) -> None:
    after = build(**changes)
    assert run(after) != named[0]
    assert granted(after) != named[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"storage__raw": 3},
        {"clients__resources__cpu": 600},
        {"server__node_port": 30052},
        {"privacy__budget": 1.4},
        {"federation__training_dp__epsilon": "0.300"},
        {"federation__training_dp__delta": "0.0000010"},
    ],
    ids=str,
)
def test_the_same_run_needs_the_same_grant(named: tuple[str, str], changes: dict[str, Any]) -> None:
    after = build(**changes)
    assert (run(after), granted(after)) == named
