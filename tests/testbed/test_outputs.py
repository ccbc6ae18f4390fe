from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

from contract.composition import Charge, spent
from testbed import outputs
from tests.components.rendering import spec


def test_the_flower_block_is_what_flower_reads() -> None:
    block = tomllib.loads(outputs.flower_config(spec("lab")))
    assert block == {"superlink": {"lab": {"address": "c2:30051", "root-certificates": "/etc/kubeflower/lab-ca.crt"}}}


def test_clients_are_isolated_from_each_other_and_allowed_to_the_server() -> None:
    table = outputs.isolation(spec("lab"))
    assert table["e1"] == {"server": "allowed", "e1": "self", "e3": "isolated", "e4": "isolated"}
    assert table["server"] == {"server": "self", "e1": "allowed", "e3": "allowed", "e4": "allowed"}


def test_clients_of_one_domain_share_a_network() -> None:
    table = outputs.isolation(spec("lab", isolation="domain"))
    assert table["e3"]["e4"] == "shared network"  # both in we-the-curious
    assert table["e1"]["e3"] == "isolated"


def test_disjoint_clients_cost_their_maximum_and_others_their_sum() -> None:
    own = [
        {"id": "e1", "slot": 1, "node": "E1", "privacy": {"epsilon": 0.3}},
        {"id": "e3", "slot": 2, "node": "E3", "privacy": {"epsilon": 0.1}},
        {"id": "e4", "slot": 3, "node": "E4", "privacy": {"epsilon": 0.2}, "dataset": "other"},
    ]
    disjoint = outputs.privacy(spec("lab", clients__list=own))
    assert disjoint["datasets"]["digits"]["epsilon"] == "0.3"
    assert disjoint["datasets"]["digits"]["rule"] == "maximum over disjoint clients"
    assert disjoint["epsilon"] == "0.5"
    together = outputs.privacy(spec("lab", clients__list=own, privacy__disjoint=None))
    assert together["datasets"]["digits"] == {
        "epsilon": "0.4",  # exactly: not 0.30000000000000004 + 0.1
        "rule": "sum over clients",
        "clients": {"e1": "0.3", "e3": "0.1"},
        "training": None,
    }
    assert together["epsilon"] == "0.6"


def test_a_client_is_told_where_it_is() -> None:
    testbed = spec("lab")
    client = outputs.client(testbed, testbed.clients.list[1])
    assert client["namespace"] == "lab-client-e3"
    assert (client["node"], client["vpc"], client["subnet"]) == ("e3", "lab-vpc-s002", "lab-net-s002")
    assert (client["address"], client["serverAddress"]) == ("10.64.0.19", "10.64.0.18:8080")
    assert (client["epsilon"], client["budget"]) == ("0.7", "0.7")
    assert client["claim"].startswith("e3-")


def test_training_is_told_apart_from_the_releases() -> None:
    dp: dict[str, Any] = {"federation__training_dp": {"epsilon": 0.1, "delta": 1e-6}, "privacy__delta": 1e-6}
    testbed = spec("lab", **dp)
    client, plain = (outputs.client(one, one.clients.list[1]) for one in (testbed, spec("lab")))
    assert (client["epsilon"], client["trainingEpsilon"], client["trainingDelta"]) == ("0.7", "0.1", "0.000001")
    assert client["trainingClaim"].startswith("e3-training-")
    assert {key: value for key, value in plain.items() if value is None} == dict.fromkeys(
        ["trainingClaim", "trainingEpsilon", "trainingDelta"]
    )
    disjoint, together = outputs.privacy(testbed), outputs.privacy(spec("lab", **dp, privacy__disjoint=None))
    assert disjoint["epsilon"] == "0.7"
    assert disjoint["training"] == disjoint["datasets"]["digits"]["training"] == {"epsilon": "0.1", "delta": "0.000001"}
    shared = spent([Charge.of_run("r", Decimal("0.1"), Decimal("1e-6"))] * 3, "basic", None)
    assert together["training"] == {"epsilon": str(shared), "delta": "0.000003"}


def test_every_node_is_listed() -> None:
    assert outputs.nodes(spec("lab")) == {"c1": [], "c2": [], "e1": ["e1"], "e2": [], "e3": ["e3"], "e4": ["e4"]}


def test_the_outputs_say_what_no_claim_covers() -> None:
    public = outputs.privacy(spec("lab"))["notCovered"]
    assert any("loss, accuracy and train-loss" in one and "labels in clear" in one for one in public)
    private: dict[str, Any] = {"privacy__labels": "private", "privacy__label_epsilon": 0.1, "dataset__partition": "iid"}
    assert outputs.privacy(spec("lab", **private))["notCovered"] == []
    paper = outputs.privacy(spec("lab", **private, privacy__mechanism="paper"))["notCovered"]
    assert paper == ["releases by mechanism paper: it makes no claim"]
