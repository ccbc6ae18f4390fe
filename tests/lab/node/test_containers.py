"""What a container finds inside: its files, its user, its limits, and nothing else of the machine."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest

from lab.api import Object
from lab.paths import REPOSITORY

from .harness import IMAGE, Lab

pytestmark = pytest.mark.fabric


def until_phase(lab: Lab, path: str, phase: str) -> None:
    deadline = time.monotonic() + 30
    while (found := lab.api.get(path)["status"].get("phase")) != phase:
        assert time.monotonic() < deadline, f"{path} is {found}"
        time.sleep(0.05)


def claim(lab: Lab, name: str, path: str) -> Object:
    """Make a local volume on node E1 and a claim bound to it; return the pod's volume."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["e1"]}]}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand"}
    volume = {
        **common,
        "capacity": {"storage": "1Gi"},
        "local": {"path": path},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
    }
    lab.api.create("/api/v1/persistentvolumes", {"metadata": {"name": f"{lab.namespace}-{name}"}, "spec": volume})
    resources = {"requests": {"storage": "1Gi"}}
    until_phase(lab, f"/api/v1/persistentvolumes/{lab.namespace}-{name}", "Available")
    spec = {**common, "resources": resources, "volumeName": f"{lab.namespace}-{name}"}
    lab.create("persistentvolumeclaims", {"metadata": {"name": name}, "spec": spec})
    until_phase(lab, f"/api/v1/namespaces/{lab.namespace}/persistentvolumeclaims/{name}", "Bound")
    return {"name": name, "persistentVolumeClaim": {"claimName": name}}


def test_a_container_sees_its_image_and_no_more(lab: Lab) -> None:
    script = """
        id -u; id -G
        grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'
        touch /etc/x 2>/dev/null || echo read-only
        ls -A /; ls -A /root /home /var/lib 2>/dev/null
        unshare --user true 2>/dev/null || echo no namespaces
        ps ax -o pid= | wc -l
        python -c 'import flwr, sys; print(sys.prefix)'
    """
    lab.run("looking", script, container={"resources": {"limits": {"cpu": "2", "memory": "1Gi"}}})
    assert lab.finished("looking", 60)["exitCode"] == 0, lab.log("looking")
    seen = lab.log("looking").splitlines()
    assert seen[:5] == ["49999", "49999", "CapBnd:0000000000000000", "NoNewPrivs:1", "Seccomp:2"]
    assert {"read-only", "no namespaces"} <= set(seen)
    assert not {"home", "mnt", "opt", "srv", "boot"} & set(seen)
    assert str(lab.paths.root) not in lab.log("looking")
    assert seen[-1].endswith("workloads/.venv")


def test_other_pods_are_invisible(lab: Lab) -> None:
    volumes: list[Object] = [{"name": "own", "emptyDir": {}}]
    container = {"volumeMounts": [{"name": "own", "mountPath": "/own"}]}
    lab.run("owner", "echo private > /own/file; exec sleep 1000", container=container, volumes=volumes)
    pod = lab.until("owner", lambda p: p["status"]["phase"] == "Running")
    folder = lab.paths.pods / pod["metadata"]["uid"] / "volumes" / "own"
    lab.run("curious", f"ls {folder} {lab.paths.root} /proc/1/root/own")
    assert lab.finished("curious")["exitCode"] != 0
    assert lab.log("curious").count("cannot access") == 3
    assert (folder / "file").read_text() == "private\n"


def test_configuration_and_secrets(lab: Lab) -> None:
    lab.create("configmaps", {"metadata": {"name": "settings"}, "data": {"colour": "blue", "b.txt": "bee"}})
    secret = base64.b64encode(b"s3cret").decode()
    lab.create("secrets", {"metadata": {"name": "keys"}, "data": {"id": secret}})
    container = {
        "env": [
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "id"}}},
            {"name": "BOTH", "value": "$(COLOUR)-$(UNKNOWN)-$$(KEY)"},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "resources": {"limits": {"cpu": "1500m"}},
        "command": ["sh", "-c", 'echo "$0 $COLOUR $KEY $BOTH $CPUS $WHERE"; cd /v; stat -c "%a %g %n" *; cat id name'],
        "args": ["$(COLOUR)!"],
        "volumeMounts": [{"name": "all", "mountPath": "/v", "readOnly": True}],
    }
    sources: list[Object] = [
        {"configMap": {"name": "settings", "items": [{"key": "b.txt", "path": "bee"}]}},
        {"secret": {"name": "keys"}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    volumes: list[Object] = [{"name": "all", "projected": {"sources": sources, "defaultMode": 0o400}}]
    lab.run("configured", container=container, volumes=volumes, nodeSelector={"kubernetes.io/hostname": "e1"})
    assert lab.finished("configured")["exitCode"] == 0, lab.log("configured")
    first, *rest = lab.log("configured").splitlines()
    assert first == "blue! blue s3cret blue-$(UNKNOWN)-$(KEY) 2 e1"
    assert rest == ["440 49999 bee", "440 49999 id", "440 49999 name", "s3cretconfigured"]


def test_service_account_token(lab: Lab) -> None:
    script = "cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; wc -c < token; grep -c BEGIN ca.crt"
    lab.run("trusted", script, automountServiceAccountToken=True)
    assert lab.finished("trusted")["exitCode"] == 0, lab.log("trusted")
    size = lab.log("trusted").removeprefix(lab.namespace).split()[0]
    assert int(size) > 500


def test_missing_key_is_named_and_waited_for(lab: Lab) -> None:
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]
    lab.run("waiting", "echo $X", container={"env": env})
    pod = lab.until("waiting", lambda p: "late" in str(p["status"]))
    waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
    assert (waiting["reason"], waiting["message"]) == ("CreateContainerConfigError", 'secret "late" not found')
    lab.create("secrets", {"metadata": {"name": "late"}, "stringData": {"k": "here"}})
    assert lab.finished("waiting")["exitCode"] == 0
    assert lab.log("waiting") == "here\n"


def test_local_volume(lab: Lab) -> None:
    disk = lab.paths.on_disk("E1", "/data/raw")
    volume = claim(lab, "raw", "/data/raw")
    mounts = [
        {"name": "raw", "mountPath": "/raw", "subPath": "data", "readOnly": True},
        {"name": "raw", "mountPath": "/ledger", "subPath": "ledger"},
    ]
    script = "cat /raw/image; touch /raw/x && exit 9; echo spent > /ledger/log; stat -c '%U:%g' /raw/image; id -G"
    lab.run("release", script, container={"volumeMounts": mounts}, volumes=[volume])
    message = lab.event("release", "FailedMount")
    assert 'path "/data/raw" does not exist on node E1' in message
    waiting = lab.get("release")["status"]["containerStatuses"][0]["state"]["waiting"]
    assert "does not exist" in waiting["message"]

    (disk / "data").mkdir(parents=True)
    (disk / "data" / "image").write_text("pixels\n")
    assert lab.finished("release")["exitCode"] == 0, lab.log("release")
    assert "pixels" in lab.log("release")
    assert "root:0" in lab.log("release")  # a volume mounted read-only is the data owner's
    assert (disk / "ledger" / "log").read_text() == "spent\n"
    assert ((disk / "ledger").stat().st_gid, (disk / "ledger").stat().st_mode & 0o2070) == (49999, 0o2070)
    assert (disk / "data").stat().st_gid == 0


def test_sub_path_stays_in_its_volume(lab: Lab) -> None:
    disk = lab.paths.on_disk("E1", "/data/trap")
    disk.mkdir(parents=True)
    (disk / "way-out").symlink_to("/etc")
    mount = {"name": "trap", "mountPath": "/x", "subPath": "way-out"}
    lab.run("escaping", "ls /x", container={"volumeMounts": [mount]}, volumes=[claim(lab, "trap", "/data/trap")])
    assert "leads out of volume" in lab.event("escaping", "Failed")


@pytest.mark.parametrize(
    ("name", "change", "reason", "words"),
    [
        ("host", {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, "FailedMount", "no hostPath"),
        ("nfs", {"volumes": [{"name": "n", "nfs": {"server": "s", "path": "/"}}]}, "FailedMount", "type nfs"),
        ("hostnet", {"hostNetwork": True}, "FailedCreatePodSandBox", "hostNetwork"),
        ("root", {"container": {"securityContext": {"runAsUser": 0}}}, "Failed", "runAsNonRoot"),
    ],
)
def test_what_the_lab_does_not_grant(lab: Lab, name: str, change: Object, reason: str, words: str) -> None:
    lab.run(name, "true", **change)
    assert words in lab.event(name, reason)


def test_volume_above_the_image_does_not_hide_it(lab: Lab) -> None:
    above = str(REPOSITORY.parent)
    container = {
        "command": ["sh", "-c", f"touch {above}/file && python -c 'import flwr' && echo both"],
        "volumeMounts": [{"name": "above", "mountPath": above}],
    }
    lab.run("above", container=container, volumes=[{"name": "above", "emptyDir": {}}])
    assert lab.finished("above", 60)["exitCode"] == 0
    assert lab.log("above") == "both\n"


def test_memory_limit(lab: Lab) -> None:
    script = ["python", "-c", "x = bytearray(300 << 20)"]
    lab.run("greedy", container={"command": script, "resources": {"limits": {"memory": "64Mi"}}})
    ended = lab.finished("greedy")
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    assert "64Mi" in lab.event("greedy", "OOMKilling")


def test_processors_are_shared_by_requests(lab: Lab) -> None:
    lab.run("asking", "exec sleep 1000", container={"resources": {"requests": {"cpu": "500m"}}})
    pod = lab.until("asking", lambda p: p["status"]["phase"] == "Running")
    below = f"{lab.paths.cgroup.strip('/')}/pod{pod['metadata']['uid']}"
    root = Path("/sys/fs/cgroup")
    shares, weight = root / "cpu" / below / "cpu.shares", root / below / "cpu.weight"
    assert (shares.read_text() if shares.exists() else weight.read_text()).strip() == (
        "512" if shares.exists() else "20"
    )


def test_containers_of_a_pod_share_its_loopback(lab: Lab) -> None:
    listen = (
        "import socket; s = socket.create_server(('127.0.0.1', 9094)); c, _ = s.accept(); print(c.recv(9).decode())"
    )
    talk = """
import socket, time
for _ in range(100):
    try:
        socket.create_connection(("127.0.0.1", 9094)).sendall(b"hello")
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
"""
    other = {"name": "other", "image": IMAGE, "command": ["python", "-c", talk]}
    main = {"name": "main", "image": IMAGE, "command": ["python", "-c", listen]}
    lab.run("pair", containers=[main, other])
    assert lab.finished("pair")["exitCode"] == 0
    assert lab.log("pair") == "hello\n"
