"""Every bad input gives one clear message that names the key, the value and what is allowed."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import SpecError
from testbed.spec import parse

NODES = [
    {"name": "C1", "role": "control-plane", "domain": "lab", "cpu": 4, "memory": 16, "disk": 80},
    {"name": "C2", "role": "cloud", "domain": "lab", "cpu": 8, "memory": 16, "disk": 80},
    {"name": "E1", "role": "edge", "domain": "mshed", "cpu": 15, "memory": 30, "disk": 100, "gpu": "P2000"},
]
BASE: dict[str, Any] = {"nodes": NODES, "server": {"node": "C2"}, "clients": {"num_clients": 2}}


def build(name: str = "lab", **changes: Any) -> Any:
    values = copy.deepcopy(BASE)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = values
        for part in parents:
            target = target.setdefault(part, {})
        target[last] = value
    return parse(name, values)


def refused(name: str = "lab", **changes: Any) -> str:
    with pytest.raises(SpecError) as caught:
        build(name, **changes)
    return str(caught.value)


def listed(*clients: dict[str, Any]) -> dict[str, Any]:
    return {"clients": {"list": list(clients)}}


def noisy(**changes: Any) -> dict[str, Any]:
    return {"federation__training_dp__epsilon": 0.3, "federation__training_dp__delta": 1e-6, **changes}


E1, E2 = {"id": "a", "slot": 1, "node": "E1"}, {"id": "b", "slot": 2, "node": "E1"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epsilon": 1}, ["kubeflower:epsilon", "unknown key", "privacy"]),
        ({"server__prt": 1}, ["kubeflower:server.prt", "unknown key", "image_pull_policy, node, node_port, port"]),
        (listed({**E1, "nod": "E1"}), ["kubeflower:clients.list[0].nod", "unknown key", "dataset, id, key, node"]),
        (listed(E1, {**E2, "id": "a"}), ["kubeflower:clients.list.id", "'a' 2 times", "used once"]),
        (listed(E1, {**E2, "slot": 1}), ["kubeflower:clients.list.slot", "'1' 2 times", "used once"]),
        (listed({**E1, "id": "server"}), ["kubeflower:clients.list.id", "'server'", "another id"]),
        (listed({**E1, "id": "A_1"}), ["kubeflower:clients.list[0].id", "'A_1'", "lower-case letters"]),
        ({"capacity": 1}, ["kubeflower:clients", "'c2' on slot 2", "beyond capacity 1"]),
        (listed({**E1, "node": "E9"}), ["kubeflower:clients.list[0].node", "'E9'", "C1, C2, E1"]),
        ({"server__node": "Z"}, ["kubeflower:server.node", "'Z'", "no such node; nodes are C1, C2, E1"]),
        ({"clients__placement": {"E9": 2}}, ["kubeflower:clients.placement.E9", "'E9'", "C1, C2, E1"]),
        ({"clients__placement": {"E1": 0}}, ["kubeflower:clients.placement.E1", "0", "greater than or equal to 1"]),
        ({"clients__placement": {"E1": 3}}, ["kubeflower:clients.num_clients", "2", "places 3"]),
        ({"clients__placement": "random"}, ["kubeflower:clients.placement", "'random'", "'spread' or 'weighted'"]),
        ({"network__clients": "10.60.0.0/16"}, ["kubeflower:network.server", "overlaps network.clients 10.60.0.0/16"]),
        ({"network__clients": "10.16.0.0/16"}, ["kubeflower:network.clients", "overlaps network.reserved[0]"]),
        ({"network__server": "100.64.1.0/24"}, ["kubeflower:network.server", "overlaps network.join 100.64.0.0/16"]),
        ({"network__clients": "10.64.0.0/27"}, ["kubeflower:network.clients", "2 subnets of /28, 12 are needed"]),
        ({"network__clients": "10.64.0.1/16"}, ["kubeflower:network.clients", "10.64.0.1/16", "host bits zero"]),
        ({"network__server": "10.60.0.0/30"}, ["kubeflower:network.server", "10.60.0.0/30", "/29 or larger"]),
        ({"isolation": "node"}, ["kubeflower:network.prefix", "/28 holds 16", "needs 28", "use /27"]),
        ({"isolation": "none"}, ["kubeflower:isolation", "'none'", "'client', 'node' or 'domain'"]),
        ({"clients__resources": {"gpu": 1}}, ["kubeflower:clients.resources.gpu", "1 GPUs", "node C2 has 0"]),
        ({"clients__resources": {"memory": 99999}}, ["kubeflower:clients.resources.memory", "node C2 has 16384"]),
        ({"server__resources": {"cpu": 9000}}, ["kubeflower:server.resources.cpu", "millicores", "node C2 has 8000"]),
        ({"privacy__epsilon": 0}, ["kubeflower:privacy.epsilon", "0", "greater than 0"]),
        ({"privacy__epsilon": -0.5}, ["kubeflower:privacy.epsilon", "-0.5", "greater than 0"]),
        ({"privacy__epsilon": "much"}, ["kubeflower:privacy.epsilon", "'much'", "use a number"]),
        ({"privacy__epsilon": True}, ["kubeflower:privacy.epsilon", "True", "use a number"]),
        ({"privacy__epsilon": float("nan")}, ["kubeflower:privacy.epsilon", "nan", "finite"]),
        ({"privacy__epsilon": float("inf")}, ["kubeflower:privacy.epsilon", "inf", "finite"]),
        ({"privacy__composition": "zcdp"}, ["kubeflower:privacy.delta", "missing", "1e-5"]),
        ({"privacy__labels": "private"}, ["kubeflower:privacy.label_epsilon", "missing"]),
        ({"privacy__delta": 0.6}, ["kubeflower:privacy.delta", "0.6", "from 1E-30 to 0.5"]),
        (noisy(), ["kubeflower:privacy.delta", "missing", "delta 0.000001", "composition basic"]),
        (noisy(privacy__delta=1e-7), ["kubeflower:privacy.delta", "1E-7", "delta 0.000001"]),
        (
            noisy(privacy__delta=1e-6, federation__strategy="fedadam"),
            ["kubeflower:federation.strategy", "'fedadam'", "fedavg or fedprox"],
        ),
        ({"federation__training_dp": {"delta": 1e-6}}, ["kubeflower:federation.training_dp.epsilon", "missing"]),
        ({"federation__training_dp": {"epsilon": 1}}, ["kubeflower:federation.training_dp.delta", "missing"]),
        (
            noisy(federation__training_dp__delta=0),
            ["kubeflower:federation.training_dp.delta", "0", "from 1E-30 to 0.5"],
        ),
        (
            noisy(federation__training_dp__clipping_norm=0),
            ["federation.training_dp.clipping_norm", "greater than or equal to 0.000001"],
        ),
        (noisy(federation__training_dp__number=0), ["federation.training_dp.number", "greater than or equal to 1"]),
        (
            noisy(federation__training_dp__z=1),
            ["training_dp.z", "unknown key", "clipping_norm, delta, epsilon, number"],
        ),
        ({"nodes": []}, ["kubeflower:nodes", "at least 1"]),
        ({"nodes": [*NODES, {**NODES[2], "name": "e1"}]}, ["kubeflower:nodes", "'e1' 2 times"]),
        ({"clients": []}, ["kubeflower:clients", "give keys and values: image_pull_policy, list, num_clients"]),
        ({"clients": {}}, ["kubeflower:clients", "num_clients, or a list"]),
    ],
)
def test_a_bad_input_is_named(changes: dict[str, Any], says: list[str]) -> None:
    message = refused(**changes)
    for words in says:
        assert words in message, message
    assert len(message.splitlines()) <= 2
    assert "Error" not in message
    assert "pydantic" not in message


def test_every_problem_is_told_at_once() -> None:
    message = refused(server__prt=1, isolation="none", privacy__epsilon=0)
    assert [line.split(": ")[0] for line in message.splitlines()] == [
        "kubeflower:isolation",
        "kubeflower:server.prt",
        "kubeflower:privacy.epsilon",
    ]


@pytest.mark.parametrize("name", ["Lab", "1lab", "a" * 21, "lab_1", "a-client", "net"])
def test_a_stack_name_that_cannot_name_objects_is_refused(name: str) -> None:
    assert refused(name).startswith(f"stack name: {name!r} — ")


def test_group_that_would_take_the_servers_subnet_is_refused() -> None:
    nodes = [*NODES[:2], {**NODES[2], "domain": "server"}]
    assert "rename the domain" in refused(nodes=nodes, isolation="domain", network__prefix=27)


@given(st.decimals(min_value="0.000001", max_value=1000, places=6))
def test_an_epsilon_is_what_was_written(epsilon: Decimal) -> None:
    if len(str(float(epsilon))) < 15:  # as YAML gives a float
        assert build(privacy__epsilon=float(epsilon)).privacy.epsilon == epsilon
    assert build(privacy__epsilon=str(epsilon)).privacy.epsilon == epsilon


def test_values_may_come_as_pulumi_stores_them() -> None:
    import json

    stored = {key: json.dumps(value) for key, value in BASE.items()} | {"isolation": "node", "capacity": "4"}
    assert parse("lab", stored) == build(isolation="node", capacity=4)


def test_the_papers_defaults() -> None:
    spec = build()
    assert (spec.server.port, spec.server.node_port, spec.server.image_pull_policy) == (8080, 30051, "IfNotPresent")
    assert (spec.federation.rounds, spec.dataset.download, spec.privacy.budget) == (10, False, Decimal("0.7"))


def test_training_is_without_noise_unless_its_price_is_named() -> None:
    assert build().federation.training_dp is None
    dp = build(**noisy(privacy__delta=1e-6)).federation.training_dp
    assert (dp.epsilon, dp.delta, dp.clipping_norm, dp.number) == (Decimal("0.3"), Decimal("0.000001"), 1.0, 1)
    zcdp = noisy(privacy__delta=1e-9, privacy__composition="zcdp")  # needs no delta of a claim
    assert build(**zcdp).federation.training_dp is not None


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build().server.port = 1
