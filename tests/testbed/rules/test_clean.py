"""A testbed as the components declare it is refused by no rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests.components.rendering import config, render, spec

from . import worlds

NODES = "kubeflower:nodes"


@pytest.mark.parametrize("stack", ["lab", "cloud-edge"])
def test_the_stack_files_are_clean(stack: str) -> None:
    assert worlds.violations(worlds.bodies(stack)) == []


@pytest.mark.parametrize("level", ["node", "domain"])
def test_a_shared_network_needs_the_policy_to_allow_it(level: str) -> None:
    manifests = worlds.bodies("cloud-edge", isolation=level, network__prefix=27)
    assert worlds.violations(manifests, {"no-cross-client-route": {"isolation": level}}) == []
    assert "no-cross-client-route" in worlds.rules(manifests)


@pytest.mark.parametrize("level", ["node", "domain"])
def test_a_group_must_be_placed_where_its_name_says(level: str) -> None:
    manifests = worlds.bodies("cloud-edge", isolation=level, network__prefix=27)
    node = worlds.template(worlds.one(manifests, "StatefulSet", "supernode", "cloud-edge-client-c3"))
    node["spec"]["nodeSelector"]["kubernetes.io/hostname"] = "c2"
    found = worlds.violations(manifests, {"no-cross-client-route": {"isolation": level}})
    assert any(v.field.endswith("nodeSelector") for v in found)


@pytest.mark.parametrize(
    "changes",
    [{"capacity": 10}, {"privacy__release": 2}, {"server__port": 9000}, {"dataset__partition": "iid"}],
)
def test_other_configurations_are_clean_too(changes: dict[str, Any]) -> None:
    assert worlds.violations(worlds.bodies("cloud-edge", **changes)) == []


def test_a_node_with_dots_in_its_name_has_a_network_of_its_own() -> None:
    nodes = [{**one, "name": one["name"].replace("E3", "e3.edge.example")} for one in config("cloud-edge")[NODES]]
    placement = {"C2": 2, "E1": 1, "E2": 1, "e3.edge.example": 3, "E4": 3}
    testbed = spec("cloud-edge", isolation="node", network__prefix=27, nodes=nodes, clients__placement=placement)
    manifests = render(testbed)
    assert worlds.violations(manifests, {"no-cross-client-route": {"isolation": "node"}}) == []
