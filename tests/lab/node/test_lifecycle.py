"""Pods from the scheduler's hand to their end, on the real control plane."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab.api import ApiError, Object, Unreachable
from lab.errors import LabError
from lab.node.cli import exec_argv
from lab.processes import Process
from lab.supervisor import State
from lab.tools import tools

from .harness import IMAGE, RESTRICTED, Lab

pytestmark = pytest.mark.fabric


def job(name: str, script: str, **spec: object) -> Object:
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": RESTRICTED,
    }
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}


def until_job(lab: Lab, name: str, field: str) -> Object:
    deadline = time.monotonic() + 30
    path = f"/apis/batch/v1/namespaces/{lab.namespace}/jobs"
    while not (found := lab.api.get(f"{path}/{name}"))["status"].get(field):
        assert time.monotonic() < deadline, found["status"]
        time.sleep(0.05)
    pods = lab.api.get(f"{lab.pods()}?labelSelector=job-name={name}")["items"]
    return dict(pods[0])


def ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def inside(lab: Lab, *argv: str) -> str:
    """Run a command in the lab's mount and PID namespaces."""
    (supervisor,) = children(lab.process.pid)
    entering = ["nsenter", "--target", str(supervisor), "--mount", "--pid", "--"]
    return subprocess.run([*entering, *argv], check=True, capture_output=True, text=True).stdout


def test_nodes_are_ready_with_what_they_have(lab: Lab) -> None:
    deadline = time.monotonic() + 20
    while True:
        nodes = {n["metadata"]["name"]: n for n in lab.api.get("/api/v1/nodes")["items"]}
        taints = {name: [t["key"] for t in n["spec"].get("taints", [])] for name, n in nodes.items()}
        if taints == {"c1": [], "e1": [], "m": ["node-role.kubernetes.io/control-plane"]}:
            break
        assert time.monotonic() < deadline, taints
        time.sleep(0.1)
    allocatable = nodes["c1"]["status"]["allocatable"]
    assert (allocatable["cpu"], allocatable["memory"], allocatable["nvidia.com/gpu"]) == ("8", "16Gi", "1")
    assert "nvidia.com/gpu" not in nodes["e1"]["status"]["allocatable"]
    assert all(n["metadata"]["labels"]["kubernetes.io/hostname"] == name for name, n in nodes.items())
    leases = lab.api.get("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")["items"]
    assert {lease["metadata"]["name"] for lease in leases} == {"c1", "e1", "m"}


def test_job_completes_and_one_that_fails_says_why(lab: Lab) -> None:
    lab.api.create(f"/apis/batch/v1/namespaces/{lab.namespace}/jobs", job("good", "echo fine > /dev/termination-log"))
    failing = job("bad", "echo working; echo the data is missing; exit 3", backoffLimit=0)
    lab.api.create(f"/apis/batch/v1/namespaces/{lab.namespace}/jobs", failing)
    good = until_job(lab, "good", "succeeded")
    assert good["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "fine\n"
    bad = until_job(lab, "bad", "failed")
    ended = bad["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert ended["message"] == "working\nthe data is missing\n"
    assert lab.log(bad["metadata"]["name"]) == "working\nthe data is missing\n"


def test_init_containers_are_a_gate(lab: Lab) -> None:
    def gate(name: str, script: str) -> Object:
        return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], "securityContext": RESTRICTED}

    gates = [gate("first", "test -e /tmp/go"), gate("second", "true")]
    mount = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - inside the pod
    for container in gates:
        container["volumeMounts"] = [mount]
    lab.run("gated", initContainers=gates, volumes=[{"name": "tmp", "emptyDir": {}}])
    pod = lab.until("gated", lambda p: p["status"]["phase"] == "Failed")
    first, second = pod["status"]["initContainerStatuses"]
    assert first["state"]["terminated"]["exitCode"] == 1
    assert "waiting" in second["state"]
    assert "waiting" in pod["status"]["containerStatuses"][0]["state"]

    gates[0]["command"] = ["sh", "-c", "touch /tmp/go"]
    gates[1]["command"] = ["sh", "-c", "test -e /tmp/go"]
    lab.run("passed", "test -e /tmp/go && echo after", initContainers=gates, volumes=[{"name": "tmp", "emptyDir": {}}])
    assert lab.finished("passed")["exitCode"] == 1  # main itself does not mount it
    assert [s["ready"] for s in lab.get("passed")["status"]["initContainerStatuses"]] == [True, True]


def test_sidecar_starts_first_and_ends_last(lab: Lab) -> None:
    shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    sidecar = {
        "name": "side",
        "image": IMAGE,
        "command": ["sh", "-c", "trap 'exit 0' TERM; touch /shared/up; while :; do sleep 0.1; done"],
        "restartPolicy": "Always",
        "startupProbe": {"exec": {"command": ["test", "-e", "/shared/up"]}, "periodSeconds": 1},
        **shared,
    }
    volumes = [{"name": "shared", "emptyDir": {}}]
    lab.run("accompanied", "test -e /shared/up", container=shared, initContainers=[sidecar], volumes=volumes)
    assert lab.finished("accompanied")["exitCode"] == 0
    side = lab.get("accompanied")["status"]["initContainerStatuses"][0]
    assert side["state"]["terminated"]["exitCode"] == 0


def test_restarts_back_off(lab: Lab) -> None:
    lab.run("crashing", "exit 4", restartPolicy="OnFailure")
    pod = lab.until(
        "crashing",
        lambda p: (
            p["status"].get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {}).get("reason")
            == "CrashLoopBackOff"
        ),
    )
    status = pod["status"]["containerStatuses"][0]
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 4
    assert pod["status"]["phase"] == "Running"
    assert "crashing" not in lab.event("crashing", "BackOff")


def test_probes_decide_readiness_and_restart(lab: Lab) -> None:
    container = {
        "readinessProbe": {"exec": {"command": ["sh", "-c", "test -e /tmp/ready"]}, "periodSeconds": 1},
        "livenessProbe": {
            "exec": {"command": ["sh", "-c", "! test -e /tmp/broken"]},
            "periodSeconds": 1,
            "failureThreshold": 1,
            "terminationGracePeriodSeconds": 1,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - inside the pod
    }
    script = "test -e /tmp/broken && rm /tmp/broken; rm -f /tmp/ready; sleep 1.5; touch /tmp/ready; exec sleep 1000"
    lab.run("probed", script, container=container, restartPolicy="Always", volumes=[{"name": "tmp", "emptyDir": {}}])
    lab.until("probed", lambda p: p["status"]["phase"] == "Running")
    assert not ready(lab.get("probed"))
    pod = lab.until("probed", ready)
    folder = lab.paths.pods / pod["metadata"]["uid"] / "volumes" / "tmp"
    (folder / "broken").touch()
    pod = lab.until("probed", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 128 + signal.SIGKILL
    assert "Liveness probe failed" in " ".join(message for _, message in lab.events("probed"))
    lab.until("probed", ready)


def test_probe_from_the_node_is_refused_in_words(lab: Lab) -> None:
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
    lab.run("asked", "exec sleep 1000", container={"readinessProbe": probe})
    assert "use an exec probe" in lab.event("asked", "Unhealthy")
    assert not ready(lab.get("asked"))


def test_deletion_leaves_nothing(lab: Lab) -> None:
    volumes: list[Object] = [{"name": "memory", "emptyDir": {"medium": "Memory"}}]
    container = {"volumeMounts": [{"name": "memory", "mountPath": "/memory"}]}
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    lab.run("brief", script, container=container, volumes=volumes, terminationGracePeriodSeconds=10)
    pod = lab.until("brief", lambda p: p["status"]["phase"] == "Running" and lab.log("brief"))
    uid = pod["metadata"]["uid"]
    netns, folder = lab.paths.pod_netns(uid), lab.paths.pods / uid
    assert netns in inside(lab, "ls", "/run/netns")
    assert str(folder) in inside(lab, "cat", "/proc/self/mountinfo")
    lab.api.delete(lab.pods("brief"), {})
    lab.gone("brief", 8)  # well before it would have been killed
    assert lab.log("brief") == "up\nbye\n"
    assert netns not in inside(lab, "ls", "/run/netns")
    assert uid not in inside(lab, "cat", "/proc/self/mountinfo")
    assert not folder.exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{lab.paths.cgroup.strip('/')}/pod{uid}"))


def test_program_that_ignores_sigterm_is_killed_after_its_grace(lab: Lab) -> None:
    lab.run("stubborn", "trap '' TERM; echo up; while :; do sleep 0.05; done")
    lab.until("stubborn", lambda p: p["status"]["phase"] == "Running" and lab.log("stubborn"))
    lab.api.delete(lab.pods("stubborn"), {})
    lab.gone("stubborn", 10)


def test_unknown_image_and_missing_program(lab: Lab) -> None:
    lab.run("foreign", container={"image": "docker.io/library/busybox:1"})
    lab.run("absent", container={"command": ["/no/such/program"]})
    pod = lab.until(
        "foreign",
        lambda p: (
            p["status"].get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {}).get("reason")
            == "ImagePullBackOff"
        ),
    )
    assert "ghcr.io/kubeflower/workloads" in pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    ended = lab.finished("absent")
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "/no/such/program" in ended["message"]


def test_deadline(lab: Lab) -> None:
    lab.run("slow", "exec sleep 1000", activeDeadlineSeconds=1)
    pod = lab.until("slow", lambda p: p["status"]["phase"] == "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


def test_kubectl_logs(lab: Lab) -> None:
    lab.run("talking", "echo one; echo two; sleep 1; echo three")
    lab.until("talking", lambda p: p["status"]["phase"] == "Running" and lab.log("talking").count("\n") > 1)
    argv = [str(tools(["kubectl"])["kubectl"]), f"--kubeconfig={lab.paths.kubeconfig}", "-n", lab.namespace, "logs"]
    last = subprocess.run([*argv, "--tail=1", "talking"], capture_output=True, text=True, check=True)
    assert last.stdout.splitlines()[0] in ("two", "three")
    followed = subprocess.run([*argv, "-f", "talking"], capture_output=True, text=True, check=True, timeout=20)
    assert followed.stdout == "one\ntwo\nthree\n"


def test_exec_from_outside(lab: Lab) -> None:
    lab.run("shell", "exec sleep 1000")
    lab.until("shell", lambda p: p["status"]["phase"] == "Running")
    with pytest.raises(LabError, match="the lab does not run"):
        exec_argv(lab.paths, lab.namespace, "shell", None, ["id"])
    (supervisor,) = children(lab.process.pid)
    process = Process.of(supervisor)
    assert process is not None
    State(process.pid, process.started, "").write(lab.paths)
    argv = exec_argv(lab.paths, lab.namespace, "shell", "main", ["sh", "-c", "id -u; hostname"])
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == "49999\nshell\n"
    with pytest.raises(LabError, match="it runs: main"):
        exec_argv(lab.paths, lab.namespace, "shell", "other", ["id"])
    with pytest.raises(LabError, match="no pod"):
        exec_argv(lab.paths, lab.namespace, "nobody", None, ["id"])


def test_many_pods_start_together(lab: Lab) -> None:
    names = [f"crowd-{i}" for i in range(8)]
    for name in names:
        lab.run(name, "date +%s.%N; sleep 2")
    assert all(lab.finished(name, 60)["exitCode"] == 0 for name in names)
    starts = sorted(float(lab.log(name)) for name in names)
    assert starts[-1] - starts[0] < 2 * len(names)  # one after the other would be at least that far apart


def test_api_server_may_restart(lab: Lab) -> None:
    volumes: list[Object] = [{"name": "shared", "emptyDir": {}}]
    container = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    script = "until test -e /shared/go; do sleep 0.05; done; echo went"
    lab.run("patient", script, container=container, volumes=volumes)
    pod = lab.until("patient", lambda p: p["status"]["phase"] == "Running")
    (supervisor,) = children(lab.process.pid)
    os.kill(supervisor, signal.SIGUSR2)
    time.sleep(0.3)
    (lab.paths.pods / pod["metadata"]["uid"] / "volumes" / "shared" / "go").touch()  # it ends with nobody to tell
    deadline = time.monotonic() + 60
    while True:
        try:
            phase = lab.get("patient")["status"]["phase"]
            if phase == "Succeeded":
                break
        except (ApiError, *Unreachable):
            phase = "unknown"
        assert time.monotonic() < deadline, phase
        time.sleep(0.1)
    lab.run("next", "echo seen")
    assert lab.finished("next")["exitCode"] == 0


def test_after_a_crash_of_the_agent_policies_decide(lab: Lab) -> None:
    lab.run("finished", "echo once")
    assert lab.finished("finished")["exitCode"] == 0
    lab.run("never", "exec sleep 1000")
    lab.run("always", "echo started; exec sleep 1000", restartPolicy="Always")
    for name in ("never", "always"):
        lab.until(name, lambda p: p["status"]["phase"] == "Running")
    before = lab.get("always")["status"]["containerStatuses"][0]["containerID"]
    (supervisor,) = children(lab.process.pid)
    os.kill(supervisor, signal.SIGUSR1)
    pod = lab.until("never", lambda p: p["status"]["phase"] == "Failed")
    assert pod["status"]["reason"] == "NodeAgentRestarted"
    pod = lab.until("always", lambda p: p["status"]["containerStatuses"][0].get("containerID") != before)
    status = pod["status"]["containerStatuses"][0]
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert lab.log("finished") == "once\n"
    assert lab.get("finished")["status"]["phase"] == "Succeeded"
