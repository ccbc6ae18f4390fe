"""What of a pod's declaration becomes what, without a machine: environment, bundle, status, probes, ownership, logs."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.api import Object
from lab.errors import LabError
from lab.node import bundle, heartbeat, logs, projected
from lab.node.environment import Sources, environment, expand, field, resource_field
from lab.node.errors import PodError
from lab.node.image import Image, pull
from lab.node.ownership import give_to_group
from lab.node.probes import Probes
from lab.node.status import ContainerState, conditions, merge_conditions, phase
from lab.node.volumes import Mount
from testbed.spec import Node

POD: Object = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": 'say "x"', "a": "1"}},
    "spec": {"nodeName": "e1", "containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}}}]},
    "status": {"podIP": "10.0.0.2"},
}
IMAGE = Image("i", (Path("/usr"),), {"bin": "usr/bin"}, {"PATH": "/usr/bin"})


class Known(Sources):
    """Sources that hold one object of each kind."""

    def __init__(self) -> None:
        """Ask nobody."""

    def config_map(self, namespace: str, name: str, optional: bool = False) -> dict[str, bytes] | None:
        return {"k": b"v"} if name == "here" else None

    def secret(self, namespace: str, name: str, optional: bool = False) -> dict[str, bytes] | None:
        return self.config_map(namespace, name, optional)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A $", "$A $"), ("x$(A)y$(A)", "x1y1"), ("$$$(A)", "$1")],
)
def test_references(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


@given(st.text(alphabet="ab()$ "))
def test_text_escaped_dollar_by_dollar_comes_back(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"a": "1", "b": "2"}) == text


def test_environment_in_order() -> None:
    container: Object = {
        "name": "c",
        "envFrom": [{"configMapRef": {"name": "here"}, "prefix": "P_"}],
        "env": [
            {"name": "A", "value": "$(Z)"},
            {"name": "Z", "value": "1"},
            {"name": "B", "value": "$(Z)$(P_k)"},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": True}}},
        ],
    }
    found = environment(POD, container, Known(), {}, {"PATH": "/usr/bin", "A": "image"})
    assert found == {"PATH": "/usr/bin", "HOSTNAME": "p", "P_k": "v", "A": "$(Z)", "Z": "1", "B": "1$(P_k)"}


def test_missing_key_names_variable_and_object() -> None:
    container: Object = {
        "name": "c",
        "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "here", "key": "q"}}}],
    }
    with pytest.raises(PodError, match=r"'q' in secret 'here' \(environment variable X\)"):
        environment(POD, container, Known(), {}, {})


def test_fields() -> None:
    assert field(POD, "metadata.labels['a']") == "1"
    assert field(POD, "metadata.labels") == 'a="1"\nb="say \\"x\\""'
    assert field(POD, "status.podIP") == "10.0.0.2"
    with pytest.raises(PodError, match=r"spec\.secret"):
        field(POD, "spec.secret")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "16384"),
        ({"resource": "requests.memory"}, "0"),
    ],
)
def test_resource_fields(selector: Object, expected: str) -> None:
    assert resource_field(POD, POD["spec"]["containers"][0], selector, {"memory": "16Gi"}) == expected


def test_projected_paths_stay_inside() -> None:
    spec: Object = {"name": "here", "items": [{"key": "k", "path": "../k"}]}
    with pytest.raises(PodError, match="leads out"):
        projected.files(POD, "configMap", spec, Known(), {})
    found = projected.files(POD, "secret", {"secretName": "here", "defaultMode": 0o400}, Known(), {})
    assert found == {"k": (b"v", 0o400)}


def configured(container: Object, **spec: Any) -> Object:
    pod = {**POD, "spec": {**POD["spec"], **spec}}
    declared = {"name": "c", "command": ["a"], **container}
    return bundle.config(
        pod,
        declared,
        IMAGE,
        environment={"A": "1"},
        mounts=[Mount(Path("/data"), "/raw", read_only=True)],
        termination_log=Path("/t"),
        netns="ns",
        cgroup="/g",
    )


def test_bundle_takes_the_stricter_of_container_and_pod() -> None:
    container = {
        "args": ["$(A)", "$(B)"],
        "securityContext": {"runAsUser": 1000, "capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False},
        "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}},
    }
    found = configured(container, securityContext={"runAsUser": 5, "runAsNonRoot": True, "fsGroup": 7})
    assert found["process"]["args"] == ["a", "1", "$(B)"]
    assert found["process"]["user"] == {"uid": 1000, "gid": 1000, "additionalGids": [7]}
    assert found["process"]["noNewPrivileges"]
    assert not any(found["process"]["capabilities"].values())
    resources = found["linux"]["resources"]
    assert resources["memory"]["limit"] == 64 << 20
    assert resources["cpu"] == {"shares": 256, "period": 100_000, "quota": 50_000}
    binds = {m["destination"]: m["options"][-1] for m in found["mounts"] if m["type"] == "bind"}
    assert binds == {"/usr": "ro", "/raw": "ro", "/dev/termination-log": "rw"}
    assert {"type": "network", "path": "/run/netns/ns"} in found["linux"]["namespaces"]


def test_capabilities_are_granted_to_root_alone() -> None:
    add = {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}
    assert configured({"securityContext": add})["process"]["capabilities"]["effective"] == []
    root = configured({"securityContext": {**add, "runAsUser": 0}})["process"]["capabilities"]
    assert root["effective"] == root["bounding"] == ["CAP_NET_ADMIN"]


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"securityContext": {"privileged": True}}, "no privileged"),
        ({"securityContext": {"runAsUser": 0, "runAsNonRoot": True}}, "runAsNonRoot"),
        ({"securityContext": {"seccompProfile": {"type": "Localhost"}}}, "Localhost"),
        ({"command": []}, "set command or args"),
    ],
)
def test_bundle_refuses(container: Object, words: str) -> None:
    with pytest.raises(PodError, match=words) as refused:
        configured(container)
    assert refused.value.reason == "CreateContainerConfigError"


def test_images() -> None:
    for reference in ("busybox", "ghcr.io/kubeflower/workloads-evil:1", "ghcr.io/kubeflower/workloads:0.1.0/x"):
        with pytest.raises(PodError, match="the lab has no image"):
            pull(reference)
    with pytest.raises(PodError, match="uv sync"):
        pull("ghcr.io/kubeflower/workloads", Path("/nowhere"))


def ended(code: int) -> ContainerState:
    return ContainerState("c", "i", {"terminated": {"exitCode": code}})


RUNNING = ContainerState("c", "i", {"running": {}}, ready=True)
WAITING = ContainerState("c", "i", {"waiting": {}})
AGAIN = ContainerState("c", "i", {"waiting": {}}, last_state={"terminated": {"exitCode": 1}})


@pytest.mark.parametrize(
    ("init", "main", "policy", "ending", "expected"),
    [
        ([], [WAITING], "Never", False, "Pending"),
        ([], [RUNNING], "Never", False, "Running"),
        ([], [RUNNING, ended(1)], "Never", False, "Running"),
        ([], [ended(0), ended(0)], "Never", False, "Succeeded"),
        ([], [ended(0), ended(1)], "Never", False, "Failed"),
        ([], [ended(0)], "Always", False, "Running"),
        ([], [ended(1)], "OnFailure", False, "Running"),
        ([], [ended(0)], "OnFailure", False, "Succeeded"),
        ([], [AGAIN], "Always", False, "Running"),
        ([], [ended(0)], "Always", True, "Succeeded"),
        ([ended(1)], [WAITING], "Never", False, "Failed"),
        ([ended(1)], [WAITING], "OnFailure", False, "Pending"),
        ([ended(0)], [WAITING], "Never", False, "Pending"),
        ([WAITING], [ended(137)], "Always", True, "Failed"),
    ],
)
def test_phase(
    init: list[ContainerState], main: list[ContainerState], policy: str, ending: bool, expected: str
) -> None:
    assert phase(init, main, policy, sidecars=False, ending=ending) == expected


def test_running_sidecar_keeps_the_pod_running() -> None:
    assert phase([], [ended(0)], "Never", sidecars=True, ending=False) == "Running"


def test_conditions_keep_their_transition_time() -> None:
    first = merge_conditions([], conditions([], [WAITING], "Pending", sandbox=False), "t1")
    second = {c["type"]: c for c in merge_conditions(first, conditions([], [RUNNING], "Running", sandbox=True), "t2")}
    assert (second["Ready"]["status"], second["Ready"]["lastTransitionTime"]) == ("True", "t2")
    assert (second["Initialized"]["status"], second["Initialized"]["lastTransitionTime"]) == ("True", "t1")


def test_probe_thresholds() -> None:
    answers = iter([1, 0, 1, 1, 0])
    events: list[str] = []
    spec = {"exec": {"command": ["x"]}, "periodSeconds": 0, "failureThreshold": 2}
    probes = Probes(
        {"readinessProbe": spec}, lambda argv, seconds: (next(answers), "out"), lambda reason, text: events.append(text)
    )
    seen = []
    for _ in range(5):
        probes.run()
        seen.append(probes.ready)
    assert seen == [False, True, True, False, True]  # one failure alone is not enough
    assert events == ["Readiness probe failed: out"] * 3


def test_startup_probe_holds_the_others_back() -> None:
    answers = {"s": 1, "l": 1}
    asked: list[str] = []

    def execute(argv: list[str], seconds: float) -> tuple[int | None, str]:
        asked.append(argv[0])
        return answers[argv[0]], ""

    once = {"periodSeconds": 0, "failureThreshold": 3}
    container = {
        "startupProbe": {"exec": {"command": ["s"]}, **once},
        "livenessProbe": {"exec": {"command": ["l"]}, **once},
    }
    probes = Probes(container, execute, lambda reason, text: None)
    probes.run()
    assert (asked, probes.started, probes.ready) == (["s"], False, False)
    answers["s"] = 0
    probes.run()
    assert (probes.started, probes.ready) == (True, True)
    for _ in range(3):
        assert probes.unhealthy is None
        probes.run()
    assert probes.unhealthy == "failed liveness probe"
    assert asked == ["s", "s", "l", "l", "l"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_group_ownership(tmp_path: Path) -> None:
    inner = tmp_path / "folder"
    inner.mkdir(mode=0o700)
    (inner / "file").write_text("")
    (inner / "file").chmod(0o600)
    outside = tmp_path.with_name("outside")
    outside.write_text("")
    (inner / "link").symlink_to(outside)
    give_to_group(tmp_path, 49999)
    assert (stat.S_IMODE(inner.stat().st_mode), inner.stat().st_gid) == (0o2770, 49999)
    assert (stat.S_IMODE((inner / "file").stat().st_mode), (inner / "file").stat().st_gid) == (0o660, 49999)
    assert outside.stat().st_gid == 0
    (inner / "file").chmod(0o600)
    give_to_group(tmp_path, 49999, only_on_mismatch=True)
    assert stat.S_IMODE((inner / "file").stat().st_mode) == 0o600


def test_logs(tmp_path: Path) -> None:
    file = tmp_path / "pod" / "c.log"
    for run in ("first", "second"):
        descriptor = logs.begin(file)
        os.write(descriptor, f"{run}\na\nb\n".encode())
    assert file.with_name("c.log.1").read_text() == "first\na\nb\n"
    assert b"".join(logs.read(file, None, follow=False, running=lambda: False)) == b"second\na\nb\n"
    assert b"".join(logs.read(file, 2, follow=True, running=lambda: False)) == b"a\nb\n"
    assert logs.last_lines(file, 80, 3) == "\nb\n"
    logs.trim(file, limit=5)
    os.write(descriptor, b"c\n")
    os.close(descriptor)
    assert (file.read_text(), file.with_name("c.log.1").read_text()) == ("c\n", "second\na\nb\n")


def test_node_objects(tmp_path: Path) -> None:
    node = Node(name="C1", role="control-plane", domain="core", cpu=4, memory=8, disk=20, gpu="a100")
    registered = heartbeat.node_object(node)
    assert registered["metadata"]["name"] == "c1"
    assert registered["spec"]["taints"][0]["effect"] == "NoSchedule"
    assert heartbeat.node_status(node, None)["capacity"]["nvidia.com/gpu"] == "1"
    nodes = tmp_path / "nodes.json"
    nodes.write_text('[{"name": "x"}]')
    with pytest.raises(LabError, match=r"nodes\.json does not describe nodes"):
        heartbeat.read(nodes)
