"""Invariants of what a testbed declares."""

from __future__ import annotations

import base64
import json
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
import yaml

from components.render import ROOT, SECRET
from testbed import addressing, placement
from testbed import contract as c
from testbed.keys import Keyring
from tests.components.rendering import Manifest, find, identity, render, spec

WORKLOADS = ("StatefulSet", "Job")
E1 = "lab-client-e1"
FOUR = [{"id": f"e{i}", "slot": i, "node": f"E{i}"} for i in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def lab() -> list[Manifest]:
    return render(spec("lab"))


@pytest.fixture(scope="module")
def paper() -> list[Manifest]:
    return render(spec("cloud-edge"))


@pytest.fixture(scope="module", params=["lab", "cloud-edge"])
def stack(request: pytest.FixtureRequest, lab: list[Manifest], paper: list[Manifest]) -> list[Manifest]:
    return lab if request.param == "lab" else paper


def pod(manifest: Manifest) -> Any:
    return manifest["spec"]["template"]["spec"]


def containers(manifest: Manifest) -> list[Any]:
    return [*pod(manifest).get("initContainers", []), *pod(manifest)["containers"]]


def role(manifest: Manifest) -> str:
    return str(manifest["spec"]["template"]["metadata"]["labels"][c.LABEL_ROLE])


def workloads(manifests: list[Manifest]) -> list[Manifest]:
    return [m for m in manifests if m["kind"] in WORKLOADS]


def test_the_papers_testbed_has_every_object_of_the_contract(paper: list[Manifest]) -> None:
    kinds = [m["kind"] for m in paper]
    assert {kind: kinds.count(kind) for kind in sorted(set(kinds))} == {
        "ConfigMap": 12,  # a CA each for server and clients, and the SuperNodes' public keys
        "Job": 11,  # ten releases and the run
        "Namespace": 11,
        "NetworkAttachmentDefinition": 12,  # capacity
        "NetworkPolicy": 23,  # in each namespace nothing by default, then one for each role that may
        "NodePatch": 6,
        "PersistentVolume": 22,
        "PersistentVolumeClaim": 22,
        "ResourceQuota": 11,
        "Secret": 22,
        "Service": 1,
        "StatefulSet": 11,
        "StorageClass": 1,
        "Subnet": 13,
        "Vpc": 12,
    }


def test_every_pod_is_hardened(stack: list[Manifest]) -> None:
    for workload in workloads(stack):
        body = pod(workload)
        assert body["automountServiceAccountToken"] is False
        assert body["enableServiceLinks"] is False
        assert body["dnsPolicy"] == "None"
        assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & set(body)
        context = body["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == c.UID
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(workload):
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert own["allowPrivilegeEscalation"] is False
            assert own["privileged"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}
            assert "ports" not in container
            for name, probe in container.items():
                if name.endswith("Probe"):
                    assert set(probe) & {"exec", "httpGet", "tcpSocket", "grpc"} == {"exec"}
        assert {kind for volume in body["volumes"] for kind in volume if kind != "name"} <= {
            "emptyDir",
            "configMap",
            "secret",
            "persistentVolumeClaim",
        }


def test_every_pod_fits_its_namespaces_quota(stack: list[Manifest]) -> None:
    for workload in workloads(stack):
        namespace = workload["metadata"]["namespace"]
        hard = find(stack, "ResourceQuota", "quota", namespace)["spec"]["hard"]
        requests = [container["resources"]["requests"] for container in pod(workload)["containers"]]
        for resource, unit in (("cpu", "m"), ("memory", "Mi")):
            asked = sum(int(r[resource].removesuffix(unit)) for r in requests)
            assert asked <= int(hard[f"requests.{resource}"].removesuffix(unit))


def test_only_the_release_mounts_raw_data_and_it_never_writes_there(stack: list[Manifest]) -> None:
    for workload in workloads(stack):
        claims = {
            v["persistentVolumeClaim"]["claimName"]
            for v in pod(workload)["volumes"]
            if len(v) > 1 and "persistentVolumeClaim" in v
        }
        assert ("raw" in claims) == (role(workload) == c.ROLE_P3VC)
        for container in containers(workload):
            for mount in container["volumeMounts"]:
                if mount["name"] == "raw" and mount["subPath"] == c.SUBPATH_DATA:
                    assert mount["readOnly"] is True
                if mount["name"] == "private" and role(workload) == c.ROLE_CLIENT:
                    assert mount["readOnly"] is True


def test_the_first_thing_a_client_does_is_to_verify_its_release(stack: list[Manifest]) -> None:
    for workload in workloads(stack):
        if role(workload) == c.ROLE_CLIENT:
            (gate,) = pod(workload)["initContainers"]
            (job,) = [
                m
                for m in workloads(stack)
                if m["kind"] == "Job" and m["metadata"]["namespace"] == workload["metadata"]["namespace"]
            ]
            claim = job["spec"]["template"]["metadata"]["annotations"][c.ANNOTATION_CLAIM]
            assert gate["command"] == ["p3vc", "verify", "--release", c.MOUNT_PRIVATE, "--claim", claim]
            assert job["metadata"]["name"] == f"p3vc-{claim.rpartition('-')[2]}"


def test_every_nic_has_port_security_and_a_subnet_of_its_own_testbed(stack: list[Manifest]) -> None:
    subnets = {m["metadata"]["name"]: m for m in stack if m["kind"] == "Subnet"}
    for workload in workloads(stack):
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        nics = [key.removesuffix("logical_switch") for key in annotations if key.endswith("/logical_switch")]
        attachments = json.loads(annotations.get(c.MULTUS_NETWORKS, "[]"))
        assert len(nics) == 1 + len(attachments)
        assert bool(attachments) == (role(workload) == c.ROLE_SERVER)
        for prefix in nics:
            assert annotations[f"{prefix}port_security"] == "true"
            subnet = subnets[annotations[f"{prefix}logical_switch"]]["spec"]
            if f"{prefix}ip_address" in annotations:
                assert IPv4Address(annotations[f"{prefix}ip_address"]) in IPv4Network(subnet["cidrBlock"])


def test_client_subnets_are_private_in_a_vpc_of_their_own(stack: list[Manifest]) -> None:
    vpcs = {m["metadata"]["name"]: m["spec"] for m in stack if m["kind"] == "Vpc"}
    used = []
    for subnet in (m["spec"] for m in stack if m["kind"] == "Subnet"):
        assert subnet["private"] is True
        assert subnet["allowSubnets"] == []
        assert subnet["natOutgoing"] is False
        if subnet["vpc"] != c.DEFAULT_VPC:
            used.append(subnet["vpc"])
            assert vpcs[subnet["vpc"]] == {"namespaces": subnet["namespaces"]}
            assert len(subnet["namespaces"]) <= 1
    assert sorted(used) == sorted(vpcs)


def test_addresses_given_out_on_demand_never_meet_pinned_ones(stack: list[Manifest]) -> None:
    pinned: dict[str, list[IPv4Address]] = {}
    for workload in workloads(stack):
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        for key, subnet in annotations.items():
            if key.endswith("/logical_switch"):
                address = annotations.get(key.replace("logical_switch", "ip_address"))
                pinned.setdefault(subnet, []).extend([IPv4Address(address)] if address else [])
    for subnet in (m for m in stack if m["kind"] == "Subnet"):
        ((first, last),) = [map(IPv4Address, text.split("..")) for text in subnet["spec"]["excludeIps"]]
        addresses = pinned.get(subnet["metadata"]["name"], [])
        assert len(addresses) == len(set(addresses))
        assert all(first < address <= last for address in addresses)
        assert first == IPv4Address(subnet["spec"]["gateway"])


def test_network_policies_let_a_client_reach_the_server_and_nothing_else(lab: list[Manifest]) -> None:
    nothing = find(lab, "NetworkPolicy", "default", "lab-client-e3")["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    policy = find(lab, "NetworkPolicy", "client", "lab-client-e3")["spec"]
    assert policy == {
        "podSelector": {"matchLabels": {"kubeflower.io/role": "client"}},  # not the P3-VC
        "policyTypes": ["Ingress", "Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.64.0.18/32"}}], "ports": [{"protocol": "TCP", "port": 8080}]}],
    }


def test_no_private_key_is_declared_in_the_clear(stack: list[Manifest]) -> None:
    testbed = spec("lab" if len(stack) < 100 else "cloud-edge")
    keyring, text = Keyring(ROOT, testbed.name), yaml.safe_dump_all(stack, width=10**9)
    private = [keyring.superexec(owner) for owner in ("server", *(x.id for x in placement.clients(testbed)))]
    private += [keyring.supernode(x.id, x.key).private for x in placement.clients(testbed)]
    private.append(keyring.server(addressing.server_addresses(testbed), []).private)
    for secret in private:
        assert secret.splitlines()[-2 if "\n" in secret else 0] not in text
        assert base64.b64encode(secret.encode()).decode() not in text
    for manifest in stack:
        if manifest["kind"] == "Secret":
            assert set(manifest["data"].values()) == {SECRET}


def test_rendering_is_deterministic(lab: list[Manifest]) -> None:
    assert yaml.safe_dump_all(render(spec("lab")), sort_keys=False) == yaml.safe_dump_all(lab, sort_keys=False)


def test_a_new_client_touches_only_what_is_its_own() -> None:
    before = {identity(m): m for m in render(spec("lab", clients__list=FOUR[:3]))}
    after = {identity(m): m for m in render(spec("lab", clients__list=FOUR))}
    new = set(after) - set(before)
    changed = {key for key in set(after) & set(before) if after[key] != before[key]}
    own = {key for key in new if "lab-client-e4" in key[1:] or key[2].startswith("lab-client-e4-")}
    (run,) = new - own
    (old_run,) = set(before) - set(after)
    assert run[:2] == old_run[:2] == ("Job", "lab-server")
    assert run[2].startswith("run-")
    assert changed == {
        ("ConfigMap", "lab-server", "supernode-keys"),
        ("Subnet", "", "lab-net-s004"),
        ("Vpc", "", "lab-vpc-s004"),
    }


def noisy(**changes: Any) -> dict[tuple[str, str, str], Manifest]:
    dp = {"epsilon": 0.3, "delta": 1e-6, **changes}
    return {identity(m): m for m in render(spec("lab", privacy__delta=1e-6, federation__training_dp=dp))}


def test_training_under_noise_adds_a_grant_for_each_client_and_another_run() -> None:
    plain, found = {identity(m): m for m in render(spec("lab", privacy__delta=1e-6))}, noisy()
    new, gone = set(found) - set(plain), set(plain) - set(found)
    assert {key[1] for key in new} == {"lab-client-e1", "lab-client-e3", "lab-client-e4", "lab-server"}
    assert [name.partition("-")[0] for _, _, name in gone] == ["run"]
    assert all(plain[key] == found[key] for key in set(plain) & set(found))


def test_another_grant_changes_no_release_and_no_client() -> None:
    before, after = noisy(), noisy(number=2)
    new, gone = set(after) - set(before), set(before) - set(after)
    assert {(kind, name.partition("-")[0]) for kind, _, name in new | gone} == {("Job", "grant"), ("Job", "run")}
    assert all(before[key] == after[key] for key in set(before) & set(after))


def test_a_grants_pod_is_its_releases_with_another_command() -> None:
    found = noisy()
    jobs = {name.partition("-")[0]: m for (kind, where, name), m in found.items() if (kind, where) == ("Job", E1)}
    release, grant = (jobs[kind]["spec"]["template"]["spec"] for kind in ("p3vc", "grant"))
    (one,), (other,) = release.pop("containers"), grant.pop("containers")
    assert release == grant  # the register init container included
    assert (one["name"], other["name"]) == ("release", "grant")
    assert [m["subPath"] for m in one["volumeMounts"] if m["mountPath"] == c.MOUNT_SEEDS] == [c.SUBPATH_SEEDS]
    one["volumeMounts"] = [m for m in one["volumeMounts"] if m["mountPath"] != c.MOUNT_SEEDS]  # a grant has no seed
    assert one["command"][:2] + other["command"][:2] == ["p3vc", "release", "p3vc", "grant"]
    assert {**one, "name": "", "command": []} == {**other, "name": "", "command": []}
    notes = jobs["grant"]["spec"]["template"]["metadata"]["annotations"]
    assert notes[c.ANNOTATION_CLAIM] == f"e1-training-{jobs['grant']['metadata']['name'].removeprefix('grant-')}"
    assert (notes[c.ANNOTATION_EPSILON], notes[c.ANNOTATION_DELTA]) == ("0.3", "0.000001")
    assert (notes[c.ANNOTATION_MECHANISM], notes[c.ANNOTATION_PARTITION]) == ("gaussian", "0/4")


def test_what_decides_a_run_names_it() -> None:
    def run(**changes: Any) -> str:
        (name,) = [name for _, _, name in map(identity, render(spec("lab", **changes))) if name.startswith("run-")]
        return name

    same = run()
    assert run(storage__raw=3) == same
    assert run(clients__resources__cpu=600) == same
    different = [
        run(federation__rounds=4),
        run(privacy__epsilon=0.5),
        run(privacy__release=2),
        run(dataset__seed=8),
        run(federation__image="ghcr.io/kubeflower/workloads:0.2.0"),
        run(clients__list=[{"id": "e1", "slot": 1, "node": "E1", "key": 2}, *FOUR[2:]]),
    ]
    assert len({same, *different}) == 1 + len(different)


@pytest.mark.parametrize("isolation", ["node", "domain"])
def test_clients_of_one_group_share_its_network(isolation: str) -> None:
    testbed = spec("cloud-edge", isolation=isolation, network__prefix=27)
    manifests = render(testbed)
    for link in addressing.links(testbed):
        members = [x.id for x in placement.clients(testbed) if placement.group(testbed, x) == link.group]
        subnet = find(manifests, "Subnet", f"cloud-edge-net-{link.group}")["spec"]
        assert subnet["namespaces"] == [f"cloud-edge-client-{client}" for client in members]
    addresses = [
        m["spec"]["template"]["metadata"]["annotations"]["ovn.kubernetes.io/ip_address"]
        for m in manifests
        if m["kind"] == "StatefulSet"
    ]
    assert len(set(addresses)) == 11


def test_two_testbeds_share_no_name() -> None:
    # Names chosen to collide wherever a name is a plain concatenation.
    one = [{"id": "b-c", "slot": 1, "node": "E1"}]
    first = render(spec("lab", name="a", clients__list=one))
    second = render(spec("lab", name="a-b", clients__list=[{**one[0], "id": "c"}]))
    shared = {identity(m) for m in first} & {identity(m) for m in second}
    assert {kind for kind, _, _ in shared} == {"NodePatch"}


def test_a_gpu_goes_to_the_process_that_trains() -> None:
    manifests = render(spec("lab", clients__resources__gpu=1, clients__list=[{"id": "e1", "slot": 1, "node": "E1"}]))
    node = find(manifests, "StatefulSet", "supernode", "lab-client-e1")
    limits = {container["name"]: container["resources"]["limits"] for container in containers(node)}
    assert limits["superexec"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in limits["supernode"]
    (job,) = [m for m in manifests if m["kind"] == "Job" and m["metadata"]["namespace"] == "lab-client-e1"]
    assert all("nvidia.com/gpu" not in container["resources"]["limits"] for container in containers(job))
    quota = find(manifests, "ResourceQuota", "quota", "lab-client-e1")["spec"]["hard"]
    assert quota["requests.nvidia.com/gpu"] == "1"


def test_a_volume_is_kept_for_one_claim_and_outlives_it(stack: list[Manifest]) -> None:
    for volume in (m for m in stack if m["kind"] == "PersistentVolume"):
        body, claim = volume["spec"], volume["spec"]["claimRef"]
        assert body["persistentVolumeReclaimPolicy"] == "Retain"
        found = find(stack, "PersistentVolumeClaim", claim["name"], claim["namespace"])
        assert found["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}
        bound = found["spec"]
        assert bound["volumeName"] == volume["metadata"]["name"]
        assert bound["storageClassName"] == body["storageClassName"]
