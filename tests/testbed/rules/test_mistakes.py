"""One mistake each on a clean testbed: the rule that must refuse it, and what it says."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from testbed.contract import MULTUS_NETWORKS
from testbed.edits import apply
from testbed.rules import RULES, judge, judge_one
from testbed.rules.config import PolicyConfig
from testbed.rules.context import Context

from . import worlds
from .worlds import Body

CLIENT = ("StatefulSet", "supernode", "lab-client-e1")


def pod(manifests: list[Body], *where: str) -> Body:
    return worlds.template(worlds.one(manifests, *(where or CLIENT)))["spec"]  # type: ignore[no-any-return]


def marks(manifests: list[Body], *where: str) -> Body:
    return worlds.notes(worlds.one(manifests, *(where or CLIENT)))


def server(manifests: list[Body]) -> Body:
    return pod(manifests, "StatefulSet", "superlink", "lab-server")


def container(manifests: list[Body]) -> Body:
    return pod(manifests)["containers"][0]  # type: ignore[no-any-return]


def obj(kind: str, name: str, namespace: str | None = None, api: str = "v1", **rest: Any) -> Body:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api, "kind": kind, "metadata": meta, **rest}


def subnet(manifests: list[Body], slot: int = 1) -> Body:
    return worlds.one(manifests, "Subnet", f"lab-net-s{slot:03d}")["spec"]  # type: ignore[no-any-return]


def vpc(manifests: list[Body], slot: int = 1) -> Body:
    return worlds.one(manifests, "Vpc", f"lab-vpc-s{slot:03d}")["spec"]  # type: ignore[no-any-return]


def stranger(namespace: str, **spec: Any) -> Body:
    return obj("Pod", "stranger", namespace, spec={"containers": [{"name": "x", "image": "y"}], **spec})


def webhook(**hook: Any) -> Body:
    return obj("MutatingWebhookConfiguration", "w", None, "admissionregistration.k8s.io/v1", webhooks=[hook])


def cluster_policy(**spec: Any) -> Body:
    spec = {"ingress": [{"action": "Allow"}], **spec}
    return obj("AdminNetworkPolicy", "a", None, "policy.networking.k8s.io/v1alpha1", spec=spec)


def binding(subject: Body, kind: str = "RoleBinding", namespace: str | None = "lab-client-e1", **rest: Any) -> Body:
    return obj(kind, "x", namespace, "rbac.authorization.k8s.io/v1", subjects=[subject], **rest)


def namespace(name: str, **labels: str) -> Body:
    made = obj("Namespace", name)
    made["metadata"]["labels"] = {f"kubeflower.io/{k}": v for k, v in {"role": "server", **labels}.items()}
    return made


HARDENED: dict[str, worlds.Mistake] = {
    "hostNetwork": lambda m: pod(m).update(hostNetwork=True),
    "hostPID": lambda m: pod(m).update(hostPID=True),
    "hostIPC": lambda m: pod(m).update(hostIPC=True),
    "hostPort": lambda m: container(m).update(ports=[{"containerPort": 1, "hostPort": 1}]),
    "privileged": lambda m: container(m)["securityContext"].update(privileged=True),
    "escalation": lambda m: container(m)["securityContext"].pop("allowPrivilegeEscalation"),
    "NET_ADMIN": lambda m: container(m)["securityContext"].update(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    "NET_RAW": lambda m: container(m)["securityContext"].pop("capabilities"),
    "sysctl": lambda m: server(m)["securityContext"].update(sysctls=[{"name": "net.ipv4.ip_forward", "value": "1"}]),
    "token": lambda m: server(m).pop("automountServiceAccountToken"),
    "projected token": lambda m: pod(m)["volumes"].append(
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
    ),
    "root": lambda m: container(m)["securityContext"].update(runAsNonRoot=False),
    "seccomp": lambda m: pod(m)["securityContext"].update(seccompProfile={"type": "Unconfined"}),
    "init container": lambda m: pod(m)["initContainers"][0].pop("securityContext"),
    "no port security": lambda m: marks(m).pop("ovn.kubernetes.io/port_security"),
    "a server's NIC": lambda m: marks(m, "StatefulSet", "superlink", "lab-server").pop(
        "link-s001.lab-server.ovn.kubernetes.io/port_security"
    ),
    "layer2_forward": lambda m: marks(m).update({"ovn.kubernetes.io/layer2_forward": "true"}),
    "routes": lambda m: marks(m).update({"ovn.kubernetes.io/routes": "[]"}),
    "mirror": lambda m: marks(m).update({"ovn.kubernetes.io/mirror": "true"}),
    "default network": lambda m: marks(m).update({"v1.multus-cni.io/default-network": "x"}),
    "foreign rights": lambda m: m.append(
        binding({"kind": "ServiceAccount", "name": "default", "namespace": "lab-client-e3"})
    ),
    "cluster rights": lambda m: m.append(
        binding({"kind": "Group", "name": "system:serviceaccounts"}, "ClusterRoleBinding", None)
    ),
    "sysctl with slashes": lambda m: server(m)["securityContext"].update(
        sysctls=[{"name": "net/ipv4/ip_forward", "value": "1"}]
    ),
    "CAP_ALL, which no runtime knows": lambda m: container(m)["securityContext"].update(
        capabilities={"drop": ["CAP_ALL"]}
    ),
    "projected certificate": lambda m: pod(m)["volumes"].append(
        {"name": "t", "projected": {"sources": [{"podCertificate": {"signerName": "x"}}]}}
    ),
    "claimed device": lambda m: pod(m).update(resourceClaims=[{"name": "nic", "resourceClaimName": "vf"}]),
    "foreign rights by a user's name": lambda m: m.append(
        binding({"kind": "User", "name": "system:serviceaccount:lab-client-e3:default"})
    ),
    "shared key": lambda m: [
        worlds.one(m, "Secret", "supernode-key", f"lab-client-{c}").update(data={"id": "c2VjcmV0"})
        for c in ("e1", "e3")
    ],
}
KEY = "a long and secret value"
SHARED: dict[str, worlds.Mistake] = {
    "a token as a secret": lambda m: m.append(
        obj("Secret", "t", "lab-client-e1", type="kubernetes.io/service-account-token")
    ),
    "another's key under another name": lambda m: _share(m, "Secret", "lab-client-e3", stringData={"x.crt": KEY}),
    "another's key in a ConfigMap": lambda m: _share(m, "ConfigMap", "lab-client-e3", data={"x": KEY}),
    "the server's key at a client": lambda m: m.extend(
        obj("Secret", "copy", namespace, stringData={key: KEY})
        for namespace, key in (("lab-server", "tls.key"), ("lab-client-e1", "mine"))
    ),
}


def _share(manifests: list[Body], kind: str, namespace: str, **content: Any) -> None:
    key = base64.b64encode(KEY.encode()).decode()
    worlds.one(manifests, "Secret", "supernode-key", "lab-client-e1").update(data={"id": key})
    manifests.append(obj(kind, "copy", namespace, **content))


STORAGE: dict[str, worlds.Mistake] = {
    "raw volume": lambda m: pod(m)["volumes"][0].update(
        {"persistentVolumeClaim": {"claimName": "raw"}, "emptyDir": None}
    ),
    "hostPath": lambda m: pod(m)["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
    "writable": lambda m: [
        v.update(readOnly=False) for c in pod(m)["containers"] for v in c["volumeMounts"] if v["name"] == "private"
    ],
    "another claim": lambda m: worlds.one(m, "PersistentVolumeClaim", "private", "lab-client-e1").update(
        spec={"volumeName": "lab-client-e3-private"}
    ),
    "one folder": lambda m: worlds.one(m, "PersistentVolume", "lab-client-e1-private")["spec"].update(
        local={"path": "/var/lib/kubeflower/lab/e3"},
        nodeAffinity=worlds.one(m, "PersistentVolume", "lab-client-e3-private")["spec"]["nodeAffinity"],
    ),
    "stranger": lambda m: m.append(
        stranger("lab-server", volumes=[{"name": "p", "hostPath": {"path": "/var/lib/kubeflower"}}])
    ),
    "wrong gate": lambda m: pod(m)["initContainers"][0]["command"].__setitem__(-1, "e3-000000000000"),
    "sidecar gate": lambda m: pod(m)["initContainers"][0].update(restartPolicy="Always"),
    "clone": lambda m: worlds.one(m, "PersistentVolumeClaim", "private", "lab-client-e1")["spec"].update(
        dataSource={"kind": "PersistentVolumeClaim", "name": "raw"}
    ),
}
ROUTES: dict[str, worlds.Mistake] = {
    "foreign subnet": lambda m: marks(m).update({"ovn.kubernetes.io/logical_switch": "lab-net-s002"}),
    "dual-homed": lambda m: marks(m).update(
        {
            MULTUS_NETWORKS: json.dumps([{"name": "link-s002", "namespace": "lab-server"}]),
            "link-s002.lab-server.ovn.kubernetes.io/logical_switch": "lab-net-s002",
        }
    ),
    "flat eth0": lambda m: marks(m).update({"ovn.kubernetes.io/logical_switch": "ovn-default"}),
    "one VPC": lambda m: [
        subnet(m, 2).update(vpc="lab-vpc-s001"),
        subnet(m, 1).update(private=False),
        subnet(m, 2).update(private=False),
        m.__setitem__(slice(None), [x for x in m if x["kind"] != "NetworkPolicy"]),
    ],
    "isolation beyond the policy": lambda m: worlds.one(m, "Namespace", "lab-client-e1")["metadata"][
        "annotations"
    ].update({"kubeflower.io/isolation": "domain"}),
}
CLOSED: dict[str, worlds.Mistake] = {
    "gateway": lambda m: m.append(
        obj("VpcNatGateway", "g", None, "kubeovn.io/v1", spec={"vpc": "lab-vpc-s001", "subnet": "lab-net-s001"})
    ),
    "egress gateway": lambda m: m.append(
        obj("VpcEgressGateway", "g", "lab-server", "kubeovn.io/v1", spec={"externalSubnet": "lab-net-s002"})
    ),
    "floating address": lambda m: m.append(
        obj("OvnFip", "f", None, "kubeovn.io/v1", spec={"ovnEip": "x", "ipName": "supernode-0.lab-client-e1"})
    ),
    "DNS": lambda m: m.append(obj("VpcDns", "d", None, "kubeovn.io/v1", spec={"vpc": "lab-vpc-s001"})),
    "external": lambda m: vpc(m).update(enableExternal=True),
    "vlan": lambda m: subnet(m).update(vlan="v"),
    "default VPC peering": lambda m: vpc(m).update(
        vpcPeerings=[{"remoteVpc": "ovn-cluster", "localConnectIP": "169.254.0.1/30"}]
    ),
    "undeclared VPC": lambda m: subnet(m).update(vpc="elsewhere"),
    "name collision": lambda m: worlds.one(m, "Subnet", "lab-net-s001")["metadata"].update(name="lab-vpc-s002"),
    "foreign CNI": lambda m: worlds.one(m, "NetworkAttachmentDefinition", "link-s001")["spec"].update(
        config='{"type": "macvlan"}'
    ),
    "cluster policy": lambda m: m.append(cluster_policy()),
    "cluster policy by a client's name": lambda m: m.append(
        cluster_policy(
            subject={"pods": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "lab-client-e1"}}}}
        )
    ),
    "unmodelled kind": lambda m: m.append(obj("RayCluster", "r", "lab-client-e1", "ray.io/v1", spec={})),
    "it names a network": lambda m: m.append(obj("Anything", "r", "far", "x.io/v1", spec={"a": ["join lab-net-s001"]})),
    "webhook": lambda m: m.append(
        obj(
            "MutatingWebhookConfiguration",
            "w",
            None,
            "admissionregistration.k8s.io/v1",
            webhooks=[{"rules": [{"resources": ["pods"]}]}],
        )
    ),
    "webhook for a kind and all that belongs to it": lambda m: m.append(
        webhook(rules=[{"apiGroups": ["apps"], "resources": ["statefulsets/*"]}])
    ),
    "webhook for things without a namespace": lambda m: m.append(
        webhook(
            rules=[{"apiGroups": ["kubeovn.io"], "resources": ["subnets"]}],
            namespaceSelector={"matchLabels": {"inject": "yes"}},
        )
    ),
    "admission policy": lambda m: m.append(
        obj(
            "MutatingAdmissionPolicy",
            "p",
            None,
            "admissionregistration.k8s.io/v1alpha1",
            spec={"matchConstraints": {"resourceRules": [{"apiGroups": [""], "resources": ["*"]}]}},
        )
    ),
    "another server of the same objects": lambda m: m.append(
        obj("APIService", "v1.kubeovn.io", None, "apiregistration.k8s.io/v1", spec={"group": "kubeovn.io"})
    ),
    "kustomization": lambda m: m.append(
        obj("Kustomization", "k", None, "kustomize.config.k8s.io/v1beta1", patches=[{"path": "x.yaml"}])
    ),
    "unmodelled kind on a volume's folder": lambda m: m.append(
        obj(
            "Workflow",
            "w",
            "far",
            "argoproj.io/v1alpha1",
            spec={"volumes": [{"hostPath": {"path": "/var/lib/kubeflower/lab/e1"}}]},
        )
    ),
    "pod in an undeclared namespace of a client": lambda m: m.append(stranger("lab-client-e9")),
    "second server": lambda m: m.append(namespace("rogue", testbed="lab")),
    "server of no testbed": lambda m: m.extend(
        [
            namespace("rogue"),
            {
                **stranger("rogue"),
                "metadata": {
                    "name": "s",
                    "namespace": "rogue",
                    "annotations": {"ovn.kubernetes.io/logical_switch": "lab-net-s001"},
                },
            },
        ]
    ),
    "exposed": lambda m: m.append(obj("Service", "s", "lab-client-e1", spec={"type": "NodePort"})),
    "ingress": lambda m: m.append(obj("Ingress", "s", "lab-client-e1", "networking.k8s.io/v1", spec={})),
    "twice": lambda m: m.append(worlds.one(worlds.bodies(), "Subnet", "lab-net-s001")),
    "patch": lambda m: m.append(obj("SubnetPatch", "lab-net-s001", None, "kubeovn.io/v1", spec={"private": False})),
    "false identity": lambda m: worlds.template(worlds.one(m, *CLIENT))["metadata"]["labels"].update(
        {"kubeflower.io/client": "e3"}
    ),
    "false role": lambda m: worlds.template(worlds.one(m, *CLIENT))["metadata"]["labels"].update(
        {"kubeflower.io/role": "server"}
    ),
    "stranger on a network": lambda m: m.append(
        {
            **stranger("elsewhere"),
            "metadata": {
                "name": "s",
                "namespace": "elsewhere",
                "annotations": {"ovn.kubernetes.io/logical_switch": "lab-net-s001"},
            },
        }
    ),
}
CASES = [
    (rule, name, mistake)
    for rule, mistakes in (
        ("hardened-pods", HARDENED),
        ("hardened-pods", SHARED),
        ("p3vc-only", STORAGE),
        ("no-cross-client-route", ROUTES),
        ("fail-closed", CLOSED),
    )
    for name, mistake in mistakes.items()
]


@pytest.mark.parametrize(("rule", "name", "mistake"), CASES, ids=[f"{r}: {n}" for r, n, _ in CASES])
def test_the_rule_refuses(rule: str, name: str, mistake: worlds.Mistake) -> None:
    manifests = worlds.bodies()
    mistake(manifests)
    found = [v for v in worlds.violations(manifests) if v.rule == rule]
    assert found, name
    for violation in found:
        assert violation.resource
        assert violation.message
        assert violation.repair, violation
        assert violation.source


INNOCENT: dict[str, worlds.Mistake] = {
    "webhook of another group": lambda m: m.append(
        webhook(rules=[{"apiGroups": ["cert-manager.io"], "resources": ["*/*"]}])
    ),
    "webhook of other namespaces": lambda m: m.append(
        webhook(
            rules=[{"apiGroups": [""], "resources": ["pods"]}],
            namespaceSelector={"matchLabels": {"inject": "yes"}},
        )
    ),
    "webhook that sees who runs commands": lambda m: m.append(
        webhook(rules=[{"apiGroups": [""], "resources": ["pods/exec"]}])
    ),
    "a name that only ends like one": lambda m: m.append(
        obj("Certificate", "c", "gitlab", "cert-manager.io/v1", spec={"secretName": "git-lab-server-tls"})
    ),
    "discovery by everyone": lambda m: m.append(
        binding(
            {"kind": "Group", "name": "system:authenticated"},
            "ClusterRoleBinding",
            None,
            roleRef={"kind": "ClusterRole", "name": "system:discovery"},
        )
    ),
    "cluster policy of other namespaces": lambda m: m.append(
        cluster_policy(subject={"namespaces": {"matchLabels": {"team": "web"}}})
    ),
    "a slower network": lambda m: marks(m).update({"ovn.kubernetes.io/ingress_rate": "3"}),
}


@pytest.mark.parametrize("name", INNOCENT)
def test_the_rules_let_pass(name: str) -> None:
    manifests = worlds.bodies()
    INNOCENT[name](manifests)
    assert worlds.violations(manifests) == []


@pytest.mark.parametrize("name", HARDENED)
def test_edits_of_hardening_repair_it(name: str) -> None:
    manifests = worlds.bodies()
    HARDENED[name](manifests)
    found = [v for v in worlds.violations(manifests) if v.rule == "hardened-pods" and v.edits]
    changed = apply(worlds.objects(manifests), [e for v in found for e in v.edits])
    left = {(v.resource, v.field) for v in judge(Context(changed, PolicyConfig())) if v.rule == "hardened-pods"}
    assert not left & {(v.resource, v.field) for v in found}


def test_a_server_that_may_forward_and_open_networks_join_clients() -> None:
    manifests = worlds.bodies()
    for slot in (1, 2):
        subnet(manifests, slot)["private"] = False
        marks(manifests, "StatefulSet", "superlink", "lab-server").pop(
            f"link-s{slot:03d}.lab-server.ovn.kubernetes.io/port_security"
        )
    for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
        policy["spec"] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}
    found = [v for v in worlds.violations(manifests) if "(server)" in v.message]
    assert found
    assert any("forwards" in line for line in found[0].witness)


def test_a_broken_rule_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(context: Context) -> Any:
        raise RuntimeError("no\nreason")

    monkeypatch.setattr("testbed.rules.RULES", {**RULES, "p3vc-only": broken})
    (violation,) = judge_one("p3vc-only", Context(()))
    assert violation.rule == "fail-closed"
    assert "RuntimeError" in violation.message


def test_no_secret_is_printed() -> None:
    manifests = worlds.bodies()
    HARDENED["shared key"](manifests)
    assert "c2VjcmV0" not in repr(worlds.violations(manifests))
