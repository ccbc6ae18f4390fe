"""What pods find on the lab's nodes: real kubelets and containerds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import pytest

from lab import lifecycle
from lab.nodes.image import WORKLOADS
from lab.ovn import ports
from lab.ovn.daemons import sockets
from lab.supervisor import State
from lab.tools import tool

from .conftest import BY_DIGEST, STORAGE, Lab, settings

pytestmark = [pytest.mark.fabric, pytest.mark.timeout(300)]
SERVE = "python -c 'import http.server as h; h.HTTPServer((\"\", 8000), h.SimpleHTTPRequestHandler).serve_forever()'"


def test_a_hardened_pod_runs_the_machines_python_and_sees_nothing_else(lab: Lab) -> None:
    script = (
        "python -c 'import flwr, sys; print(sys.prefix)'; id -u; "
        "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; "
        "ls /var/lib /home /data; ls /root/.ssh; touch /usr/x; cat /etc/resolv.conf"
    )
    lab.run("hardened", script, dnsPolicy="None", dnsConfig={"nameservers": ["127.0.0.1"]})
    lab.ended("hardened")
    said = lab.kubectl("logs", "hardened").splitlines()
    assert said[:2] == [f"{WORKLOADS}/.venv", "49999"]
    assert said[2:5] == ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
    for path in ("/var/lib", "/home", "/data", "/root/.ssh"):
        assert any(line.startswith(f"ls: cannot access '{path}'") for line in said), said
    assert any("'/usr/x': Read-only" in line for line in said), said
    assert said[-1] == "nameserver 127.0.0.1"


def test_the_machines_kernel_settings_stay_as_they_are(lab: Lab) -> None:
    assert settings() == lab.settings


def test_a_declared_image_is_there_by_digest_too_and_no_other_is_looked_for(lab: Lab) -> None:
    lab.run("by-digest", "true", container={"image": BY_DIGEST})
    lab.run("unknown", "true", container={"image": "ghcr.io/kubeflower/workloads:9.9.9"})
    assert lab.ended("by-digest")["exitCode"] == 0
    lab.until("unknown", lambda s: "ImagePull" in s["state"].get("waiting", {}).get("reason", ""))
    events = lab.kubectl(
        "get", "events", "--field-selector", "involvedObject.name=unknown", "-o", "jsonpath={.items[*].message}"
    )
    assert "127.0.0.1:1: connect: connection refused" in events, events.splitlines()


def test_kubectl_and_lab_look_into_a_pod(lab: Lab, tmp_path: Any) -> None:
    lab.run("looked-into", f"echo begun; cd; {SERVE}", **_volume("home", "/app", {"emptyDir": {}}))
    lab.running("looked-into")
    assert lab.kubectl("logs", "looked-into") == "begun\n"
    assert _lab(lab, "logs", "default/looked-in").stdout == "[pod/looked-into/main] begun\n"
    assert _lab(lab, "logs", "default/looked-into", "-c", "main").stdout == "begun\n"
    inside = _lab(lab, "exec", "default/looked-into", "--", "sh", "-c", "echo in; exit 7")
    assert (inside.returncode, inside.stdout) == (7, "in\n")
    missing = _lab(lab, "exec", "default/nobody", "--", "true")
    assert missing.returncode == 1
    assert missing.stderr.startswith("lab exec: no pod default/nobody; in default there are:")

    (tmp_path / "sent").write_text("a file")
    lab.kubectl("cp", str(tmp_path / "sent"), "default/looked-into:/app/received")
    assert lab.kubectl("exec", "looked-into", "--", "cat", "/app/received") == "a file"
    assert _forwarded(lab, "looked-into", b"GET /received HTTP/1.0\r\n\r\n").endswith(b"a file")


def test_limits_probes_and_restarts_are_kubelets_own(lab: Lab) -> None:
    limits = {"resources": {"limits": {"memory": "32Mi"}}}
    lab.run("hungry", "python -c 'bytearray(1 << 27)'", container=limits)
    lab.run("restarted", "echo no luck >&2; exit 3", restartPolicy="Always")
    probe = {"exec": {"command": ["test", "-e", "/app/there"]}, "periodSeconds": 1}
    lab.run(
        "probed",
        "sleep 2; touch /app/there; sleep 1000",
        **_volume("home", "/app", {"emptyDir": {}}, readinessProbe=probe),
    )
    assert lab.ended("hungry")["reason"] == "OOMKilled"
    again = lab.until("restarted", lambda s: s.get("restartCount", 0) >= 2)
    assert again["lastState"]["terminated"]["exitCode"] == 3
    lab.until("probed", lambda s: s.get("ready"))


def test_a_local_volume_is_on_its_nodes_disk(lab: Lab) -> None:
    folder = lab.paths.on_disk("E1", f"{STORAGE}/a/raw")
    folder.mkdir(parents=True)
    (folder / "record").write_text("of the owner")
    affinity = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["e1"]}
    volume = {
        "metadata": {"name": "raw"},
        "spec": {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "none",
            "local": {"path": f"{STORAGE}/a/raw"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [affinity]}]}},
        },
    }
    lab.api.create("/api/v1/persistentvolumes", volume)
    claim: dict[str, Any] = {"storageClassName": "none", "accessModes": ["ReadWriteOnce"]}
    claim |= {"volumeName": "raw", "resources": {"requests": {"storage": "1Mi"}}}
    lab.create("persistentvolumeclaims", {"metadata": {"name": "raw"}, "spec": claim})
    source = {"persistentVolumeClaim": {"claimName": "raw"}}
    lab.run("owner", "cat /raw/record; echo spent > /raw/ledger", **_volume("raw", "/raw", source))
    assert lab.ended("owner")["exitCode"] == 0
    assert lab.kubectl("logs", "owner") == "of the owner"
    assert (folder / "ledger").read_text() == "spent\n"
    assert not lab.paths.on_disk("C1", f"{STORAGE}/a").exists()


def test_a_declared_gpu_is_offered_once(lab: Lab) -> None:
    wanted = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    lab.run("first", "sleep 1000", container=wanted)
    lab.running("first")
    lab.run("second", "sleep 1000", container=wanted)
    lab.kubectl("wait", "--for=condition=PodScheduled=false", "pod/second")
    assert "Insufficient nvidia.com/gpu" in str(lab.get("second")["status"]["conditions"])


def test_a_pods_nics_come_and_go_with_it(lab: Lab) -> None:
    lab.run("plugged", "sleep 1000")
    lab.running("plugged")
    pod = lab.get("plugged")
    (nic,) = ports.nics(pod) or []
    assert pod["status"]["podIP"] == str(nic.address.ip)
    assert nic.port in ports.namespaces(lab.paths)
    lab.kubectl("delete", "pod", "plugged")
    assert nic.port not in ports.namespaces(lab.paths)
    assert nic.host not in sockets(lab.paths).vsctl("list-ports", "br-int")


@pytest.mark.parametrize("name", ["kubelet", "containerd"])
def test_a_pod_outlives_the_crash_of_its(name: str, lab: Lab) -> None:
    lab.run(f"outlives-{name}", "echo begun; sleep 1000")
    before = lab.running(f"outlives-{name}")
    pids = subprocess.run(["pgrep", "-x", name], capture_output=True, text=True, check=True).stdout.split()
    (pid,) = [int(pid) for pid in pids if f"/{lab.paths.root.name}/run/nodes/e1/" in _command(pid)]
    os.kill(pid, 9)
    deadline = time.monotonic() + 60
    while True:
        with suppress(AssertionError):
            assert lab.kubectl("exec", f"outlives-{name}", "--", "echo", "there") == "there\n"
            break
        assert time.monotonic() < deadline
        time.sleep(0.5)
    after = lab.running(f"outlives-{name}")
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    state = State.read(lab.paths)
    assert state is not None and state.daemons[f"{name}-e1"] == "running"


def test_a_killed_lab_leaves_none_of_its_pods(lab: Lab) -> None:
    lab.run("last", "sleep 1000")
    lab.running("last")
    state = State.read(lab.paths)
    assert state is not None
    os.kill(state.pid, 9)
    deadline = time.monotonic() + 10
    while lifecycle.running(lab.paths):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    left = lifecycle.leftovers(lab.paths, state)
    assert [item for item in left if not item.startswith(("file ", "cgroup "))] == []
    mine = [pid for pid in os.listdir("/proc") if pid.isdigit() and str(lab.paths.root) in _command(pid)]  # noqa: PTH208
    assert mine == []
    lifecycle.stop(lab.paths)
    assert lifecycle.leftovers(lab.paths, state) == []
    assert lab.paths.on_disk("E1", f"{STORAGE}/a/raw/ledger").read_text() == "spent\n"


def _volume(name: str, path: str, source: dict[str, Any], **container: Any) -> dict[str, Any]:
    mounts = {"volumeMounts": [{"name": name, "mountPath": path}]}
    return {"container": mounts | container, "volumes": [{"name": name, **source}]}


def _lab(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "KUBEFLOWER_LAB": str(lab.paths.root)}
    argv = [sys.executable, "-m", "lab.cli", *arguments]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)


def _forwarded(lab: Lab, pod: str, request: bytes) -> bytes:
    """What a pod's port 8000 answers through ``kubectl port-forward``."""
    env = {**os.environ, "KUBECONFIG": str(lab.paths.kubeconfig)}
    argv = [str(tool("kubectl")), "port-forward", f"pod/{pod}", ":8000"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        port = int(forwarding.stdout.readline().split(" -> ")[0].rpartition(":")[2])
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(request)
                answer = b""
                while data := connection.recv(1 << 16):
                    answer += data
                return answer
        finally:
            forwarding.kill()


def _command(pid: str) -> str:
    with suppress(OSError), open(f"/proc/{pid}/cmdline") as file:  # noqa: PTH123 - it may end meanwhile
        return json.dumps(file.read().split("\0"))
    return ""
