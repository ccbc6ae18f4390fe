"""How the rules scale: time and memory on 10 to 10 000 clients, as ratios of one run."""

from __future__ import annotations

import gc
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, expand
from testbed.report.findings import find
from testbed.rules.context import Context

NODES = 6
SIZES = (10, 100, 1_000, 10_000)
BASE = int(IPv4Address("10.64.0.0"))  # with a /28 for each client, 10.64.0.0/10 holds 262 144


@dataclass(frozen=True)
class Measure:
    """One size: seconds to judge, and peak memory in bytes of the process that held and judged the objects."""

    clients: int
    objects: int
    seconds: float
    peak: int


def _object(version: str, kind: str, name: str, namespace: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    where = {"name": name, **({"namespace": namespace} if namespace else {}), **metadata}
    return {"apiVersion": version, "kind": kind, "metadata": where, "spec": spec}


def _mount(claim: str, place: str, part: str = "", *, read_only: bool = True) -> dict[str, Any]:
    return {"name": claim, "mountPath": place, "subPath": part, "readOnly": read_only}


def _pod_spec(argv: list[str], *mounts: dict[str, Any]) -> dict[str, Any]:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "main",
        "image": "workloads",
        "command": argv,
        "securityContext": security,
        "volumeMounts": list(mounts),
    }
    whole = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    claims = dict.fromkeys(mount["name"] for mount in mounts)
    return {
        "automountServiceAccountToken": False,
        "securityContext": whole,
        "containers": [container],
        "volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims],
    }


def _claim(number: int, home: str, name: str) -> Iterator[dict[str, Any]]:
    yield _object("v1", "PersistentVolumeClaim", name, home, {"volumeName": f"{home}-{name}"})
    host = {"key": c.LABEL_HOSTNAME, "operator": "In", "values": [f"e{number % NODES}"]}
    volume = {
        "claimRef": {"namespace": home, "name": name},
        "local": {"path": f"/var/lib/kubeflower/b/c{number}/{name}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
    }
    yield _object("v1", "PersistentVolume", f"{home}-{name}", "", volume)


def _client(number: int) -> Iterator[dict[str, Any]]:
    home, net, base = f"b-client-c{number}", f"b-net-{number}", BASE + 16 * number
    marks = {
        c.nic_annotation("logical_switch"): net,
        c.nic_annotation("ip_address"): str(IPv4Address(base + 3)),
        c.nic_annotation("port_security"): "true",
    }
    labels = {c.LABEL_CLIENT: f"c{number}", c.LABEL_NETWORK: f"s{number}", c.LABEL_ROLE: c.ROLE_CLIENT}
    subnet = {
        "vpc": f"b-vpc-{number}",
        "cidrBlock": f"{IPv4Address(base)}/28",
        "gateway": str(IPv4Address(base + 1)),
        "provider": "ovn",
        "private": True,
        "namespaces": [home],
    }
    config = {"cniVersion": "0.3.1", "type": "kube-ovn", "provider": f"link-{number}.b-server.ovn"}
    verify = ["p3vc", "verify", "--release", c.MOUNT_PRIVATE, "--claim", f"claim-{number}"]
    private = _mount("private", c.MOUNT_PRIVATE)
    pod = _pod_spec(["federation", "supernode"], private)
    gate = {**_pod_spec(verify, private)["containers"][0], "name": "gate"}
    template = {"metadata": {"labels": labels, "annotations": marks}, "spec": {**pod, "initContainers": [gate]}}
    policy = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    yield _object("v1", "Namespace", home, "", {}, labels=labels)
    yield _object("kubeovn.io/v1", "Vpc", f"b-vpc-{number}", "", {"namespaces": [home]})
    yield _object("kubeovn.io/v1", "Subnet", net, "", subnet)
    yield _object(
        "k8s.cni.cncf.io/v1",
        "NetworkAttachmentDefinition",
        f"link-{number}",
        "b-server",
        {"config": json.dumps(config)},
    )
    yield _object("networking.k8s.io/v1", "NetworkPolicy", "default", home, policy)
    yield from _claim(number, home, "raw")
    yield from _claim(number, home, "private")
    yield _object("apps/v1", "StatefulSet", "supernode", home, {"replicas": 1, "template": template})
    release = [
        *("p3vc", "release", "--data", c.MOUNT_RAW, "--out", c.MOUNT_PRIVATE, "--ledger", c.MOUNT_LEDGER),
        *("--seeds", c.MOUNT_SEEDS, "--claim", f"claim-{number}", "--epsilon", "0.7"),
        *("--mechanism", "laplace", "--labels", "public"),
        *("--partition", f"{number}/100000", "--partitioner", "iid", "--seed", "7", "--disjoint", "one record each"),
    ]
    notes = {
        c.ANNOTATION_EPSILON: "0.7",
        c.ANNOTATION_MECHANISM: "laplace",
        c.ANNOTATION_CLAIM: f"claim-{number}",
        c.ANNOTATION_DATASET: "bench",
        c.ANNOTATION_PARTITION: f"{number}/100000",
        c.ANNOTATION_DISJOINT: "one record each",
    }
    mounts = (
        _mount("raw", c.MOUNT_RAW, c.SUBPATH_DATA),
        _mount("raw", c.MOUNT_LEDGER, c.SUBPATH_LEDGER, read_only=False),
        _mount("raw", c.MOUNT_SEEDS, c.SUBPATH_SEEDS, read_only=False),
        _mount("private", c.MOUNT_PRIVATE, read_only=False),
    )
    marks = {k: v for k, v in marks.items() if not k.endswith("ip_address")}
    spender = {
        "metadata": {"labels": {**labels, c.LABEL_ROLE: c.ROLE_P3VC}, "annotations": {**marks, **notes}},
        "spec": _pod_spec(release, *mounts),
    }
    yield _object("batch/v1", "Job", f"p3vc-{number}", home, {"template": spender})


def testbed(clients: int) -> tuple[Object, ...]:
    """A clean testbed of any size: one VPC, private subnet and volume for each client, one server on every subnet."""
    bodies = [_object("v1", "Namespace", "b-server", "", {}, labels={c.LABEL_ROLE: c.ROLE_SERVER})]
    marks = {c.nic_annotation("logical_switch"): "b-net-server", c.nic_annotation("port_security"): "true"}
    networks = []
    for number in range(clients):
        bodies += _client(number)
        provider = f"link-{number}.b-server.ovn"
        marks |= {
            c.nic_annotation("logical_switch", provider): f"b-net-{number}",
            c.nic_annotation("ip_address", provider): str(IPv4Address(BASE + 16 * number + 2)),
            c.nic_annotation("port_security", provider): "true",
        }
        networks.append({"name": f"link-{number}", "namespace": "b-server"})
    marks[c.MULTUS_NETWORKS] = json.dumps(networks)
    server = {
        "metadata": {"labels": {c.LABEL_ROLE: c.ROLE_SERVER}, "annotations": marks},
        "spec": _pod_spec(["flower-superlink"]),
    }
    own = {"cidrBlock": "10.60.0.0/28", "private": True, "namespaces": ["b-server"]}
    bodies.append(_object("kubeovn.io/v1", "Subnet", "b-net-server", "", own))
    bodies.append(_object("apps/v1", "StatefulSet", "superlink", "b-server", {"template": server}))
    return tuple(o for body in bodies for o in expand(body, "bench"))


def judge(clients: int) -> Measure:
    """Judge a testbed of ``clients`` clients with every rule, in this process.

    Raises:
        RuntimeError: when the clean testbed is not found clean, so that the numbers would mean nothing.
    """
    objects = testbed(clients)
    start = time.perf_counter()
    found = find(Context(objects))
    seconds = time.perf_counter() - start
    pairs = found.reachability
    if found.violations or pairs is None or pairs.found or pairs.total != 4 * clients * (clients - 1):
        raise RuntimeError(f"the testbed of {clients} clients is not clean: {found.violations[:1]}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts KiB
    return Measure(clients, len(objects), seconds, peak)


def measure(clients: int) -> Measure:
    """The same in a process of its own, so that the peak of memory is its own too.

    Raises:
        RuntimeError: when that process fails.
    """
    argv = [sys.executable, "-m", "testbed.bench", str(clients)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return Measure(**json.loads(done.stdout))


def table(measures: list[Measure]) -> str:
    """The measures, each beside the one before: growth in time against n log n, and in memory against n."""
    lines = [f"{'clients':>8} {'objects':>8} {'seconds':>9} {'MiB':>8}  {'time / n log n':>15} {'memory / n':>11}"]
    for index, one in enumerate(measures):
        growth = memory = ""
        if index:
            last = measures[index - 1]
            expected = one.clients * math.log(one.clients) / (last.clients * math.log(last.clients))
            growth = f"x {one.seconds / last.seconds / expected:.2f}"
            memory = f"x {one.peak / last.peak / (one.clients / last.clients):.2f}"
        size = one.peak / 2**20
        lines.append(f"{one.clients:>8} {one.objects:>8} {one.seconds:>9.3f} {size:>8.1f}  {growth:>15} {memory:>11}")
    return "\n".join(lines)


if __name__ == "__main__":
    gc.disable()  # as the command does
    sys.stdout.write(json.dumps(asdict(judge(int(sys.argv[1])))))
