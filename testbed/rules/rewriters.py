"""What may change objects between their check and their creation, or serve them from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, mapping, sequence
from testbed.selectors import selects

KINDS = frozenset(
    ["MutatingWebhookConfiguration", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "APIService"]
)
# Resources whose objects the rules judge, or that a pod comes from, by API group.
WRITTEN: dict[str, frozenset[str]] = {
    "": frozenset(
        [
            "pods", "podtemplates", "replicationcontrollers", "namespaces", "nodes", "services", "endpoints", "secrets",
            "configmaps", "persistentvolumes", "persistentvolumeclaims", "serviceaccounts", "limitranges",
            "resourcequotas",
        ]
    ),
    "apps": frozenset(["deployments", "statefulsets", "daemonsets", "replicasets", "controllerrevisions"]),
    "batch": frozenset(["jobs", "cronjobs"]),
    "networking.k8s.io": frozenset(["networkpolicies", "ingresses"]),
    "policy.networking.k8s.io": frozenset(
        ["adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"]
    ),
    "rbac.authorization.k8s.io": frozenset(["roles", "rolebindings", "clusterroles", "clusterrolebindings"]),
    "storage.k8s.io": frozenset(["storageclasses", "csidrivers", "volumeattachments"]),
    "discovery.k8s.io": frozenset(["endpointslices"]),
    "scheduling.k8s.io": frozenset(["priorityclasses"]),
    "node.k8s.io": frozenset(["runtimeclasses"]),
    "apiextensions.k8s.io": frozenset(["customresourcedefinitions"]),
    "admissionregistration.k8s.io": frozenset(["*"]),
    "apiregistration.k8s.io": frozenset(["apiservices"]),
    "gateway.networking.k8s.io": frozenset(["*"]),
    "k8s.cni.cncf.io": frozenset(["network-attachment-definitions"]),
    "kubeovn.io": frozenset(["*"]),
}  # fmt: skip
# Those without a namespace: a namespaceSelector never leaves them out, but for namespaces themselves
# (staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/namespace/matcher.go).
CLUSTER_WIDE = frozenset(
    [
        "persistentvolumes", "nodes", "clusterroles", "clusterrolebindings", "storageclasses", "csidrivers",
        "volumeattachments", "priorityclasses", "runtimeclasses", "customresourcedefinitions", "apiservices", "*",
    ]
)  # fmt: skip
READ_ONLY = frozenset(["status", "exec", "attach", "portforward", "log", "proxy"])  # subresources without a spec


def problem(obj: Object, namespaces: Mapping[str, Mapping[str, Any]], objects: Iterable[Object]) -> str:
    """Why an object of a kind that the rules know may change what they judged; empty when it does not.

    Args:
        obj: any object.
        namespaces: labels of the testbeds' namespaces.
        objects: all objects.
    """
    if obj.kind == "CustomResourceDefinition" and obj.spec.get("group") in (*WRITTEN, c.DOMAIN):
        strategy = mapping(obj.spec.get("conversion")).get("strategy")
        if strategy not in (None, "None"):
            return f"conversion {strategy} may rewrite objects of a kind that was judged"
        if any(_defaults(mapping(one).get("schema")) for one in sequence(obj.spec.get("versions"))):
            kind = mapping(obj.spec.get("names")).get("kind")
            return f"its defaults fill in fields of {kind} that were judged as absent" if kind in DEFAULTLESS else ""
    if obj.kind == "APIService" and obj.spec.get("group") in WRITTEN:
        return f"it serves group {obj.spec.get('group')}, whose objects were judged, from elsewhere"
    if obj.kind == "MutatingAdmissionPolicyBinding":
        wanted = obj.spec.get("policyName")
        known = any(o.kind == "MutatingAdmissionPolicy" and o.name == wanted for o in objects)
        return "" if known else f"it puts policy {wanted} into force, which is not among the resources"
    if obj.kind in ("MutatingWebhookConfiguration", "MutatingAdmissionPolicy") and may_rewrite(obj, namespaces):
        return "it may rewrite a testbed's objects after they were judged"
    return ""


# Kinds whose upstream definition has no default for a field of their spec that the model reads.
DEFAULTLESS = frozenset(["Vpc", "Subnet", "SecurityGroup", "IPPool", "NetworkAttachmentDefinition"])


def _defaults(schema: Any, path: tuple[str, ...] = ()) -> bool:
    """Whether a schema gives any field a default, beyond the two that Kube-OVN's own definitions have."""
    if isinstance(schema, (list, tuple)):
        return any(_defaults(one, path) for one in schema)
    if not isinstance(schema, Mapping):
        return False
    if "default" in schema and "type" in schema and (path[-1:], schema["default"]) not in UPSTREAM:
        return True
    return any(_defaults(value, (*path, str(key))) for key, value in schema.items())


UPSTREAM = ((("enabled",), False), (("enableAddressSet",), False))


def may_rewrite(obj: Object, namespaces: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether a webhook configuration or an admission policy may change an object that the rules judge.

    Args:
        obj: a MutatingWebhookConfiguration or a MutatingAdmissionPolicy.
        namespaces: labels of the testbeds' namespaces.
    """
    if obj.kind == "MutatingAdmissionPolicy":
        constraints = mapping(obj.spec.get("matchConstraints"))
        parts = [(constraints, sequence(constraints.get("resourceRules")))]
    else:
        hooks = [mapping(hook) for hook in sequence(obj.body.get("webhooks"))]
        parts = [(hook, sequence(hook.get("rules"))) for hook in hooks]
    return not parts or any(_part_may(part, rules, namespaces) for part, rules in parts)


def _part_may(part: Mapping[str, Any], rules: Any, namespaces: Mapping[str, Mapping[str, Any]]) -> bool:
    written = {resource for rule in rules for resource in _written(mapping(rule))}
    if rules and not written:
        return False
    selector = part.get("namespaceSelector")
    if not isinstance(selector, Mapping) or not rules or written & CLUSTER_WIDE:
        return True
    return any(selects(selector, {c.LABEL_NAMESPACE_NAME: name, **labels}).may for name, labels in namespaces.items())


def _written(rule: Mapping[str, Any]) -> Iterator[str]:
    """Resources of ours that a rule matches (``pkg/admission/plugin/webhook/predicates/rules/rules.go``)."""
    groups = {str(g) for g in sequence(rule.get("apiGroups"))} or {"*"}
    for group, resources in WRITTEN.items():
        if not groups & {"*", group}:
            continue
        for entry in sequence(rule.get("resources")):
            resource, _, sub = str(entry).partition("/")
            if sub in READ_ONLY:
                continue
            if resource == "*" or "*" in resources or resource in resources:
                yield resource if group != "kubeovn.io" else "*"
