"""Which programs run in a testbed's pods, and which kinds may stand beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from testbed.errors import SpecError
from testbed.rules.config import parse

from . import worlds
from .test_mistakes import obj, webhook
from .worlds import Body

SERVER = ("StatefulSet", "superlink", "lab-server")
CLIENT = ("StatefulSet", "supernode", "lab-client-e1")
RUN = ("Job", "run-", "lab-server")
RELAY: Body = {"command": ["socat", "TCP-LISTEN:1,fork", "TCP:10.64.0.19:1"]}


def containers(manifests: list[Body], *where: str) -> list[Body]:
    return worlds.template(worlds.one(manifests, *where))["spec"]["containers"]  # type: ignore[no-any-return]


def sidecar(manifests: list[Body], *where: str, kind: str = "containers", **change: Any) -> None:
    """Another container beside the first, hardened as it is."""
    pod = worlds.template(worlds.one(manifests, *where))["spec"]
    made = copy.deepcopy(pod["containers"][0])
    for key in (*(f"{p}Probe" for p in ("liveness", "readiness", "startup")), "volumeMounts"):
        made.pop(key, None)
    pod.setdefault(kind, []).append({**made, "name": "other", **change})


def first(change: Callable[[Body], object], *where: str) -> worlds.Mistake:
    return lambda manifests: change(containers(manifests, *(where or SERVER))[0])


PROGRAMS: dict[str, worlds.Mistake] = {
    "a relay in the server's pod": lambda m: sidecar(m, *SERVER, **RELAY),
    "a relay from another image": lambda m: sidecar(m, *SERVER, image="alpine/socat:1.8", **RELAY),
    "a relay before the server": lambda m: sidecar(m, *SERVER, kind="initContainers", restartPolicy="Always", **RELAY),
    "a second SuperLink": lambda m: sidecar(m, *SERVER),
    "an image's own program": lambda m: sidecar(m, *SERVER, command=None),
    "arguments after the command": first(lambda one: one.update(args=["--proxy"])),
    "a relay in a client's pod": lambda m: sidecar(m, *CLIENT, **RELAY),
    "a relay in the run's pod": lambda m: sidecar(m, *RUN, **RELAY),
    "another program in the server's place": first(lambda one: one.update(command=["python", "-c", "relay()"])),
    "a hook": first(lambda one: one.update(lifecycle={"postStart": {"exec": {"command": ["sh"]}}})),
    "a probe": first(lambda one: one.update(livenessProbe={"exec": {"command": ["socat"]}})),
    "a variable that loads code": first(lambda one: one["env"].append({"name": "LD_PRELOAD", "value": "/state/x.so"})),
    "a proxy": first(lambda one: one["env"].append({"name": "https_proxy", "value": "http://10.64.0.19"})),
    "variables from elsewhere": first(lambda one: one.update(envFrom=[{"configMapRef": {"name": "ca"}}])),
    "a volume over the program": first(lambda one: one["volumeMounts"].append({"name": "home", "mountPath": "/usr"})),
    "another image for the server": first(lambda one: one.update(image="evil/workloads:1")),
    "a second Deployment in the server's namespace": lambda m: m.append(
        {**template_of(m), "kind": "Deployment", "metadata": {"name": "more", "namespace": "lab-server"}}
    ),
}


def template_of(manifests: list[Body]) -> Body:
    """The server's workload, running something else and on the server's network alone."""
    made = copy.deepcopy(worlds.one(manifests, *SERVER))
    marks = worlds.notes(made)
    for key in [k for k in marks if "link-" in k or k.endswith("/networks")]:
        del marks[key]
    made["spec"]["template"]["spec"]["containers"] = [
        {**one, **RELAY} for one in made["spec"]["template"]["spec"]["containers"][:1]
    ]
    return made


@pytest.mark.parametrize("name", PROGRAMS)
def test_another_program_is_refused(name: str) -> None:
    manifests = worlds.bodies()
    PROGRAMS[name](manifests)
    found = [v for v in worlds.violations(manifests) if v.rule == "hardened-pods"]
    assert found
    assert all(v.field and v.repair for v in found)


def test_a_monitoring_sidecar_is_admitted_by_its_image() -> None:
    manifests = worlds.bodies()
    image = "quay.io/prometheus/statsd-exporter:v0.28.0"
    sidecar(manifests, *SERVER, image=image, command=["/bin/statsd_exporter"])
    (found,) = worlds.violations(manifests)
    assert image in found.repair
    assert worlds.violations(manifests, {"hardened-pods": {"sidecars": [image]}}) == []
    assert worlds.violations(manifests, {"hardened-pods": {"sidecars": ["another"]}})


def test_the_images_are_those_that_are_pinned() -> None:
    manifests = worlds.bodies()
    pinned = {"hardened-pods": {"images": ["ghcr.io/kubeflower/workloads:0.1.0"]}}
    assert worlds.violations(manifests, pinned) == []
    for workload in (m for m in manifests if m["kind"] in ("StatefulSet", "Job")):
        pod = worlds.template(workload)["spec"]
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            container["image"] = "evil/workloads:1"
    assert worlds.violations(manifests) == []  # any image, where none is pinned, if it is one
    assert {v.rule for v in worlds.violations(manifests, pinned)} == {"hardened-pods"}


def crd(kind: str = "Subnet", group: str = "kubeovn.io", **spec: Any) -> Body:
    names = {"kind": kind, "plural": f"{kind.lower()}s"}
    made = obj("CustomResourceDefinition", f"{kind.lower()}s.{group}", None, "apiextensions.k8s.io/v1")
    return {**made, "spec": {"group": group, "names": names, **spec}}


def schema(**fields: Any) -> list[Body]:
    spec = {"type": "object", "properties": fields}
    return [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]


def hook(group: str, resource: str) -> Body:
    return webhook(rules=[{"apiGroups": [group], "resources": [resource]}])


REWRITERS: dict[str, Body] = {
    "Kyverno": obj("ClusterPolicy", "p", None, "kyverno.io/v1", spec={"rules": [{"mutate": {}}]}),
    "Kyverno's of a namespace": obj("Policy", "p", "far", "kyverno.io/v1", spec={"rules": [{"generate": {}}]}),
    "Gatekeeper": obj("Assign", "a", None, "mutations.gatekeeper.sh/v1", spec={}),
    "Argo CD": obj("Application", "a", "argocd", "argoproj.io/v1alpha1", spec={"source": {"repoURL": "x"}}),
    "Flux": obj("Kustomization", "k", "flux", "kustomize.toolkit.fluxcd.io/v1", spec={}),
    "Flux's charts": obj("HelmRelease", "h", "flux", "helm.toolkit.fluxcd.io/v2", spec={}),
    "Rancher's charts": obj("HelmChart", "h", "kube-system", "helm.cattle.io/v1", spec={}),
    "a workflow": obj("Workflow", "w", "far", "argoproj.io/v1alpha1", spec={}),
    "a virtual machine": obj("VirtualMachine", "v", "far", "kubevirt.io/v1", spec={}),
    "a webhook on service accounts": hook("", "serviceaccounts"),
    "a webhook on limits": hook("", "limitranges"),
    "a webhook on priorities": hook("scheduling.k8s.io", "priorityclasses"),
    "a webhook on runtimes": hook("node.k8s.io", "runtimeclasses"),
    "a webhook on definitions": hook("apiextensions.k8s.io", "customresourcedefinitions"),
    "a webhook on webhooks": hook("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    "a binding of a policy that is not there": obj(
        "MutatingAdmissionPolicyBinding",
        "b",
        None,
        "admissionregistration.k8s.io/v1",
        spec={"policyName": "elsewhere"},
    ),
    "a default in a judged kind": crd(versions=schema(vlan={"type": "string", "default": "v"})),
    "a conversion of a judged kind": crd(conversion={"strategy": "Webhook"}),
    "a default of an attachment": crd(
        "NetworkAttachmentDefinition", "k8s.cni.cncf.io", versions=schema(config={"type": "string", "default": "{}"})
    ),
    "another server of the policies": obj(
        "APIService", "v1.networking.k8s.io", None, "apiregistration.k8s.io/v1", spec={"group": "networking.k8s.io"}
    ),
    "an issuer whose solver makes pods": obj(
        "Issuer", "i", "lab-server", "cert-manager.io/v1", spec={"acme": {"solvers": [{"http01": {"ingress": {}}}]}}
    ),
    "a copy of a client's volume": obj(
        "VolumeSnapshot",
        "s",
        "lab-client-e1",
        "snapshot.storage.k8s.io/v1",
        spec={"source": {"persistentVolumeClaimName": "raw"}},
    ),
}


@pytest.mark.parametrize("name", REWRITERS)
def test_what_may_rewrite_is_refused_unless_it_is_trusted(name: str) -> None:
    added = REWRITERS[name]
    manifests = [*worlds.bodies(), added]
    (found,) = worlds.violations(manifests)
    assert found.rule == "fail-closed"
    assert found.resource.startswith(added["kind"])
    kind = f"{added['apiVersion'].partition('/')[0]}/{added['kind']}"
    one = f"{kind}/{added['metadata']['name']}"
    assert one in found.repair
    for trusted in (kind, one):
        assert worlds.violations(manifests, {"fail-closed": {"trust": [trusted]}}) == []
    assert worlds.violations(manifests, {"fail-closed": {"trust": [f"{kind}/another", "a.b/Kind"]}})


SELECTOR = {"matchLabels": {"app": "superlink"}}
EVERYDAY: dict[str, list[Body]] = {
    "a ServiceMonitor of the server": [
        obj("ServiceMonitor", "s", "lab-server", "monitoring.coreos.com/v1", spec={"selector": SELECTOR})
    ],
    "a ServiceMonitor that names its namespace": [
        obj(
            "ServiceMonitor",
            "s",
            "monitoring",
            "monitoring.coreos.com/v1",
            spec={"selector": SELECTOR, "namespaceSelector": {"matchNames": ["lab-server"]}},
        )
    ],
    "a PodMonitor": [obj("PodMonitor", "p", "monitoring", "monitoring.coreos.com/v1", spec={"selector": {}})],
    "a PrometheusRule": [obj("PrometheusRule", "p", "lab-server", "monitoring.coreos.com/v1", spec={"groups": []})],
    "a Grafana dashboard": [
        obj("GrafanaDashboard", "g", "monitoring", "grafana.integreatly.org/v1beta1", spec={"json": "{}"}),
        obj("ConfigMap", "dashboard", "monitoring", data={"d.json": "{}"}),
    ],
    "a certificate and its issuer": [
        obj("Issuer", "i", "lab-server", "cert-manager.io/v1", spec={"selfSigned": {}}),
        obj("Certificate", "c", "lab-server", "cert-manager.io/v1", spec={"secretName": "superlink-tls"}),
    ],
    "a copy of the server's state": [
        obj(
            "VolumeSnapshot",
            "s",
            "lab-server",
            "snapshot.storage.k8s.io/v1",
            spec={"source": {"persistentVolumeClaimName": "state"}},
        )
    ],
    "limits, priorities and budgets": [
        obj("LimitRange", "l", "lab-server", spec={"limits": []}),
        obj("ResourceQuota", "q", "team", spec={"hard": {}}),
        obj("PriorityClass", "p", None, "scheduling.k8s.io/v1", value=1),
        obj("PodDisruptionBudget", "b", "lab-server", "policy/v1", spec={"selector": SELECTOR}),
    ],
    "validation": [
        obj("ValidatingWebhookConfiguration", "v", None, "admissionregistration.k8s.io/v1", webhooks=[]),
        obj("ValidatingAdmissionPolicy", "v", None, "admissionregistration.k8s.io/v1", spec={}),
    ],
    "metrics": [
        obj("APIService", "v1beta1.metrics.k8s.io", None, "apiregistration.k8s.io/v1", spec={"group": "metrics.k8s.io"})
    ],
    "a definition of another kind": [crd("Anything", "x.io", versions=schema(a={"type": "string", "default": "b"}))],
    "Kube-OVN's own definitions": [crd("Vpc", versions=schema(enabled={"type": "boolean", "default": False}))],
    "a read-only role": [
        obj(
            "ClusterRole",
            "reader",
            None,
            "rbac.authorization.k8s.io/v1",
            rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
        )
    ],
}


@pytest.mark.parametrize("name", EVERYDAY)
def test_everyday_kinds_are_admitted(name: str) -> None:
    assert worlds.violations([*worlds.bodies(), *EVERYDAY[name]]) == []


def test_a_kind_alone_touches_no_testbed() -> None:
    assert worlds.violations([REWRITERS["Kyverno"]]) == []


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("fail-closed", {"trust": ["Application"]}),
        ("fail-closed", {"trust": "argoproj.io/Application"}),
        ("fail-closed", {"trusted": []}),
        ("hardened-pods", {"images": ["two words"]}),
        ("hardened-pods", {"sidecars": [1]}),
    ],
    ids=str,
)
def test_nonsense_in_the_configuration_is_refused(rule: str, settings: Body) -> None:
    with pytest.raises(SpecError, match=rule):
        parse({rule: settings})
