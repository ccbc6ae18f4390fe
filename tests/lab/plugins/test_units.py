"""The provider's pure parts: values, comparison, drift, names, tokens, messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.plugins import install
from lab.plugins.kubernetes import diff, drift, naming, properties, tokens
from lab.plugins.kubernetes.awaiting import workloads
from lab.plugins.kubernetes.cluster import ApiError
from lab.plugins.kubernetes.immutable import Mutability, forces_replacement, refused_as_immutable
from lab.plugins.kubernetes.properties import UNKNOWN
from lab.plugins.kubernetes.tokens import Kind

KEYS = st.text("abcXYZ./-_", min_size=1, max_size=6)
SCALARS = st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.just(UNKNOWN)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)
POD = Kind("v1", "Pod")


def paths(value: Any, path: properties.Path = ()) -> list[properties.Path]:
    """Every path in a value."""
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [found for key, child in children for found in ((*path, key), *paths(child, (*path, key)))]


@given(OBJECTS, st.data())
def test_values_survive_the_wire_and_secrets_stay_secret(value: dict[str, Any], data: st.DataObject) -> None:
    known = paths(value)
    secrets = set(data.draw(st.lists(st.sampled_from(known), max_size=3))) if known else set()
    assert properties.decode(properties.encode(value, secrets)) == (value, secrets)


@given(OBJECTS, OBJECTS)
def test_comparison_is_empty_exactly_for_equals(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert not list(diff.compare(old, old))
    same = properties.encode(old, set()) == properties.encode(new, set())
    assert bool(list(diff.compare(old, new))) != same


@given(OBJECTS)
def test_refresh_of_an_unchanged_object_changes_no_input(inputs: dict[str, Any]) -> None:
    inputs = {**inputs, "apiVersion": "v1", "kind": "ConfigMap"}
    live = {**inputs, "status": {"phase": "x"}}
    assert drift.refreshed(inputs, live, live) == inputs


def test_refresh_keeps_spelling_and_takes_only_what_changed() -> None:
    inputs = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {"containers": [{"name": "a", "image": "one", "cpu": "1000m"}, {"name": "b", "image": "two"}]},
    }
    recorded = {
        "spec": {
            "dnsPolicy": "ClusterFirst",
            "containers": [{"name": "a", "image": "one", "cpu": "1"}, {"name": "b", "image": "two"}],
        }
    }
    live = {
        "spec": {
            "dnsPolicy": "Default",
            "containers": [
                {"name": "injected", "image": "proxy"},
                {"name": "a", "image": "one", "cpu": "1"},
                {"name": "b", "image": "three"},
            ],
        }
    }
    containers = drift.refreshed(inputs, recorded, live)["spec"]["containers"]
    assert containers == [
        {"name": "injected", "image": "proxy"},
        {"name": "a", "image": "one", "cpu": "1000m"},
        {"name": "b", "image": "three"},
    ]


def test_refresh_sees_drift_of_a_secret_given_as_text() -> None:
    inputs = {"apiVersion": "v1", "kind": "Secret", "stringData": {"k": "old", "same": "s"}}
    recorded = {"data": {"k": "b2xk", "same": "cw=="}}
    live = {"data": {"k": "bmV3", "same": "cw=="}}
    assert drift.refreshed(inputs, recorded, live)["stringData"] == {"k": "new", "same": "s"}


@pytest.mark.parametrize(
    ("kind", "path", "replaced"),
    [
        (Kind("batch/v1", "Job"), ("spec", "template", "spec", "containers", 0, "image"), True),
        (Kind("batch/v1", "Job"), ("spec", "parallelism"), False),
        (Kind("apps/v1", "StatefulSet"), ("spec", "serviceName"), True),
        (Kind("apps/v1", "StatefulSet"), ("spec", "template", "metadata", "labels", "a"), False),
        (Kind("v1", "PersistentVolumeClaim"), ("spec", "resources", "requests", "storage"), False),
        (Kind("v1", "PersistentVolumeClaim"), ("spec", "storageClassName"), True),
        (Kind("v1", "PersistentVolume"), ("spec", "local", "path"), True),
        (POD, ("spec", "containers", 0, "image"), False),
        (POD, ("spec", "containers", 0, "command", 1), True),
        (POD, ("metadata", "labels", "a"), False),
        (POD, ("metadata", "namespace"), True),
        (Kind("v1", "Service"), ("spec", "clusterIP"), True),
        (Kind("rbac.authorization.k8s.io/v1", "RoleBinding"), ("roleRef", "name"), True),
        (Kind("v1", "Node", patch=True), ("spec", "taints", 0, "key"), False),
        (Kind("v1", "Node", patch=True), ("metadata", "name"), True),
    ],
)
def test_what_needs_a_new_object(kind: Kind, path: properties.Path, replaced: bool) -> None:
    assert forces_replacement(kind, path, {}, {}, Mutability()) is replaced


@pytest.mark.parametrize(
    ("old", "mutability", "replaced"),
    [
        ({}, Mutability(), True),
        ({}, Mutability(config_maps=True), False),
        ({"immutable": True}, Mutability(config_maps=True), True),
    ],
)
def test_config_maps_are_replaced_unless_they_may_change(
    old: dict[str, Any], mutability: Mutability, replaced: bool
) -> None:
    assert forces_replacement(Kind("v1", "ConfigMap"), ("data", "k"), old, {}, mutability) is replaced


def test_refusals_of_the_server_that_mean_immutable() -> None:
    status = {"message": "x", "details": {"causes": [{"field": "spec.template", "message": "field is immutable"}]}}
    assert refused_as_immutable(ApiError(422, status)) == ["spec.template"]
    assert refused_as_immutable(ApiError(422, {"message": "spec.port: Invalid value"})) is None


def test_tokens() -> None:
    assert tokens.parse("kubernetes:core/v1:Pod", {}) == POD
    assert tokens.parse("kubernetes:core/v1:NodePatch", {"kind": "Node"}) == Kind("v1", "Node", patch=True)
    assert tokens.parse("kubernetes:kubeovn.io/v1:Vpc", {"kind": "Vpc"}) == Kind("kubeovn.io/v1", "Vpc")
    assert tokens.parse("kubernetes:a.io/v1:DoorPatch", {"kind": "DoorPatch"}) == Kind("a.io/v1", "DoorPatch")
    with pytest.raises(tokens.Unsupported, match="official"):
        tokens.parse("kubernetes:helm.sh/v3:Release", {})
    with pytest.raises(tokens.Unsupported, match="list"):
        tokens.parse("kubernetes:core/v1:PodList", {"items": []})


def test_a_name_is_kept_and_not_given_where_there_is_one() -> None:
    inputs: dict[str, Any] = {}
    assert naming.assign(inputs, "web", b"seed", None, {}) is None
    name = inputs["metadata"]["name"]
    assert naming.is_autonamed(inputs)
    later: dict[str, Any] = {"metadata": {"labels": {}}}
    naming.assign(later, "web", b"other", None, inputs)
    assert later["metadata"]["name"] == name
    given: dict[str, Any] = {"metadata": {"name": "mine"}}
    naming.assign(given, "web", b"seed", None, inputs)
    assert given == {"metadata": {"name": "mine"}}


def pod(**status: Any) -> dict[str, Any]:
    """A pod on a node."""
    scheduled = {"type": "PodScheduled", "status": "True"}
    return {
        "metadata": {"name": "superlink-0", "namespace": "lab-server"},
        "status": {"conditions": [scheduled], **status},
    }


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"running": {}}, "running, its readiness probe has not passed yet"),
        ({"waiting": {"reason": "ErrImagePull", "message": "no such image"}}, "ErrImagePull: no such image"),
        ({}, "starting"),
    ],
)
def test_description_of_a_pod_names_the_container_that_is_behind(status: dict[str, Any], words: str) -> None:
    live = pod(containerStatuses=[{"name": "superlink", "ready": False, "state": status}])
    assert workloads.describe(live) == f"pod lab-server/superlink-0: container superlink not ready: {words}"


def test_description_of_a_pod_starts_with_its_init_containers() -> None:
    done = {"name": "first", "ready": False, "state": {"terminated": {"exitCode": 0}}}
    behind = {"name": "second", "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    live = pod(initContainerStatuses=[done, behind], containerStatuses=[{"name": "main", "ready": False, "state": {}}])
    assert "init container second not complete: CrashLoopBackOff" in workloads.describe(live)


def test_stand_ins_are_never_taken_for_official_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    person, lab, path = tmp_path / "person", tmp_path / "lab", tmp_path / "path"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("PULUMI_HOME", str(person))
    assert install.prepare_home(lab) == [install.LANGUAGE, install.KUBERNETES]
    shims = {found.name for found in lab.glob("plugins/*/*")}
    assert shims == {install.LANGUAGE, install.KUBERNETES}
    # In the lab's home, or copied onto PATH: still no official plugin.
    monkeypatch.setenv("PULUMI_HOME", str(lab))
    (path / install.LANGUAGE).write_bytes(next(lab.glob(f"plugins/*/{install.LANGUAGE}")).read_bytes())
    (path / install.LANGUAGE).chmod(0o755)
    assert install.official(install.LANGUAGE) is None
    # An official provider in the person's home is linked and its stand-in removed; one on PATH the engine finds itself.
    monkeypatch.setenv("PULUMI_HOME", str(person))
    for real in (person / "plugins/resource-kubernetes-v9.0.0" / install.KUBERNETES, path / install.LANGUAGE):
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text("#!/bin/true\n")
        real.chmod(0o755)
    assert install.prepare_home(lab) == []
    left = list(lab.glob("plugins/*/*"))
    assert [found.parent.name for found in left] == ["resource-kubernetes-v9.0.0"]
    assert left[0].resolve().is_relative_to(person)
    with pytest.raises(ValueError, match="pulumi-language-go"):
        install.write_shims(lab, need=["pulumi-language-go"])
