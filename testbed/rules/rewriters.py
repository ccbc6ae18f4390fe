"""What may change objects between their check and their creation: mutating webhooks and admission policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from testbed.contract import LABEL_NAMESPACE_NAME
from testbed.manifests import Object, mapping, sequence
from testbed.selectors import selects

KINDS = frozenset(["MutatingWebhookConfiguration", "MutatingAdmissionPolicy"])
# Resources whose objects the rules judge, by API group.
WRITTEN: dict[str, frozenset[str]] = {
    "": frozenset(
        [
            "pods", "podtemplates", "replicationcontrollers", "namespaces", "nodes", "services", "endpoints", "secrets",
            "configmaps", "persistentvolumes", "persistentvolumeclaims",
        ]
    ),
    "apps": frozenset(["deployments", "statefulsets", "daemonsets", "replicasets"]),
    "batch": frozenset(["jobs", "cronjobs"]),
    "networking.k8s.io": frozenset(["networkpolicies", "ingresses"]),
    "policy.networking.k8s.io": frozenset(
        ["adminnetworkpolicies", "baselineadminnetworkpolicies", "clusternetworkpolicies"]
    ),
    "rbac.authorization.k8s.io": frozenset(["roles", "rolebindings", "clusterroles", "clusterrolebindings"]),
    "storage.k8s.io": frozenset(["storageclasses"]),
    "k8s.cni.cncf.io": frozenset(["network-attachment-definitions"]),
    "kubeovn.io": frozenset(["*"]),
}  # fmt: skip
# Those without a namespace: a namespaceSelector never leaves them out, but for namespaces themselves
# (staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/namespace/matcher.go).
CLUSTER_WIDE = frozenset(["persistentvolumes", "nodes", "clusterroles", "clusterrolebindings", "storageclasses", "*"])
READ_ONLY = frozenset(["status", "exec", "attach", "portforward", "log", "proxy"])  # subresources without a spec


def may_rewrite(obj: Object, namespaces: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tell whether a webhook configuration or an admission policy may change an object that the rules judge.

    Args:
        obj: of one of ``KINDS``.
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
    return any(selects(selector, {LABEL_NAMESPACE_NAME: name, **labels}).may for name, labels in namespaces.items())


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
