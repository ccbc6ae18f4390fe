"""fail-closed: whatever cannot be proved is refused, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from testbed import contract as c
from testbed.manifests import Object, dotted, mapping, sequence
from testbed.reachability.model import texts
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.unknown import unresolved
from testbed.workloads import Pod, is_workload, namespace_labels

NAME = "fail-closed"

# Kinds this project's rules read, or that create no pod and carry no packet, by API group.
KNOWN: dict[str, frozenset[str]] = {
    "": frozenset(
        [
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "Namespace",
            "Node",
            "Service",
            "Endpoints",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "ConfigMap",
            "Secret",
            "ServiceAccount",
            "ResourceQuota",
            "LimitRange",
            "Event",
        ]
    ),
    "apps": frozenset(["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ControllerRevision"]),
    "batch": frozenset(["Job", "CronJob"]),
    "networking.k8s.io": frozenset(["NetworkPolicy", "Ingress", "IngressClass"]),
    "policy.networking.k8s.io": frozenset(["AdminNetworkPolicy", "BaselineAdminNetworkPolicy", "ClusterNetworkPolicy"]),
    "gateway.networking.k8s.io": frozenset(["Gateway", "HTTPRoute", "TCPRoute", "GRPCRoute", "TLSRoute", "UDPRoute"]),
    "discovery.k8s.io": frozenset(["EndpointSlice"]),
    "rbac.authorization.k8s.io": frozenset(["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]),
    "policy": frozenset(["PodDisruptionBudget"]),
    "autoscaling": frozenset(["HorizontalPodAutoscaler"]),
    "storage.k8s.io": frozenset(["StorageClass", "CSIDriver", "VolumeAttachment"]),
    "scheduling.k8s.io": frozenset(["PriorityClass"]),
    "coordination.k8s.io": frozenset(["Lease"]),
    "apiextensions.k8s.io": frozenset(["CustomResourceDefinition"]),
    "k8s.cni.cncf.io": frozenset(["NetworkAttachmentDefinition"]),
}
REWRITERS = frozenset(["MutatingWebhookConfiguration", "MutatingAdmissionPolicy"])
REWRITTEN = frozenset(
    [
        "*",
        "*/*",
        "pods",
        "pods/*",
        "deployments",
        "statefulsets",
        "daemonsets",
        "replicasets",
        "jobs",
        "cronjobs",
        "subnets",
        "vpcs",
        "namespaces",
        "network-attachment-definitions",
        "networkpolicies",
        "secrets",
        "configmaps",
        "persistentvolumes",
        "persistentvolumeclaims",
    ]
)


def _unknown(context: Context) -> Iterator[Violation]:
    for obj in (*context.objects, *context.patches):
        for path in unresolved(obj):
            message = "cannot prove anything about it: the value is not known before creation"
            repair = "give it a value that the preview knows"
            yield violation(NAME, obj, path, message, repair)


def _patches(context: Context) -> Iterator[Violation]:
    for obj in context.patches:
        if obj.kind == "Node":  # read back it is the whole live node, and nothing in it carries a packet
            continue
        message = "cannot prove what it makes of an object that is declared elsewhere"
        yield violation(NAME, obj, (), message, f"declare the whole {obj.kind} instead of a patch")


def _twice(context: Context) -> Iterator[Violation]:
    seen: dict[tuple[str, str, str, str], Object] = {}
    for obj in context.objects:
        if obj.name.endswith("*"):
            continue
        first = seen.setdefault(obj.key, obj)
        if first is not obj:
            message = f"it is declared twice, here and at {first.source}: cannot prove which one holds"
            yield violation(NAME, obj, ("metadata", "name"), message, "declare it once")


def _identity(context: Context) -> Iterator[Violation]:
    labels_of = namespace_labels(context.objects)
    homes: dict[str, set[str]] = defaultdict(set)
    for pod in context.pods:
        for key in (c.LABEL_CLIENT, c.LABEL_TESTBED, c.LABEL_NETWORK):
            own, home = pod.labels.get(key), labels_of.get(pod.namespace, {}).get(key)
            if own is not None and own != home:
                message = f"it calls itself {key}={own}, its namespace says {home}"
                yield violation(
                    NAME, pod.owner, pod.path("metadata", "labels", key), message, "label pod and namespace alike"
                )
        role, home_role = pod.labels.get(c.LABEL_ROLE), labels_of.get(pod.namespace, {}).get(c.LABEL_ROLE)
        inside = (c.ROLE_CLIENT, c.ROLE_P3VC) if home_role == c.ROLE_CLIENT else (c.ROLE_SERVER, c.ROLE_RUN)
        if role is not None and (home_role is None or role not in inside):
            message = f"role {role} does not belong into a namespace of role {home_role}"
            yield violation(
                NAME,
                pod.owner,
                pod.path("metadata", "labels", c.LABEL_ROLE),
                message,
                "declare it in a namespace of its role",
            )
        if pod.client:
            homes[pod.client].add(pod.namespace)
    for client, spaces in homes.items():
        if len(spaces) > 1:
            for obj in context.objects:
                if obj.kind == "Namespace" and obj.name in spaces:
                    message = f"client {client} has several namespaces: {', '.join(sorted(spaces))}"
                    yield violation(
                        NAME, obj, ("metadata", "labels", c.LABEL_CLIENT), message, "give each client one namespace"
                    )


def _strangers(context: Context) -> Iterator[Violation]:
    """Pods of nobody on a client's network."""
    for port in context.model.ports:
        pod: Pod = port.pod
        if (
            not pod.client
            and pod.role not in (c.ROLE_SERVER, c.ROLE_RUN)
            and port.subnet.name in context.model.client_subnets
        ):
            message = f"a pod of no client is on {port.subnet.name}, a client's network"
            yield violation(
                NAME,
                pod.owner,
                port.origin.path,
                message,
                "put it on a network of its own",
                witness=(str(port.origin),),
            )


def _unmodelled(context: Context) -> Iterator[Violation]:
    labels_of = namespace_labels(context.objects)
    subnets = context.model.client_subnets
    names = set(subnets) | {context.model.subnets[n].vpc for n in subnets} - {c.DEFAULT_VPC}
    names |= {n for n, labels in labels_of.items() if labels.get(c.LABEL_ROLE)}
    for obj in context.objects:
        if obj.group == "kubeovn.io" or is_workload(obj):
            continue  # the network model reads or refuses these
        if obj.kind in KNOWN.get(obj.group, ()):
            continue
        if obj.kind in REWRITERS:
            rules = [r for w in sequence(obj.body.get("webhooks")) for r in sequence(mapping(w).get("rules"))]
            rules += [*sequence(mapping(obj.spec.get("matchConstraints")).get("resourceRules"))]
            resources = {str(x) for r in rules for x in sequence(mapping(r).get("resources"))}
            if not rules or resources & REWRITTEN:
                message = "it may rewrite a testbed's objects after they were judged"
                yield violation(NAME, obj, (), message, "limit its rules to other kinds, or remove it")
            continue
        if labels_of.get(obj.namespace, {}).get(c.LABEL_ROLE):
            kind = f"kind {obj.kind} ({obj.group or 'core'})"
            message = f"{kind} is outside the rules and lies in a testbed's namespace: it may create pods there"
            yield violation(NAME, obj, (), message, "remove it, or move it to a namespace of its own")
            continue
        for path, text in texts(obj.body):
            named = next((n for n in names if n in text), None)
            if named:
                message = f"kind {obj.kind} ({obj.group or 'core'}) is outside the rules and names {named}"
                yield violation(NAME, obj, path, message, "remove the name, or the object")
                break


def _hazards(context: Context) -> Iterator[Violation]:
    for hazard, nets in context.reachability.touching:
        if hazard.value:
            continue  # reported by path above
        obj = hazard.origin.obj
        where = f" ({', '.join(sorted(nets)[:3])}{' ...' if len(nets) > 3 else ''})" if nets else ""
        message = f"cannot prove isolation: {hazard.reason}{where}"
        yield violation(NAME, obj, hazard.origin.path, message, hazard.repair)


def check(context: Context) -> list[Violation]:
    """Refuse unknown values, unmodelled kinds and unclear identities."""
    found = []
    for part in (_unknown, _patches, _twice, _identity, _strangers, _unmodelled, _hazards):
        found += list(part(context))
    return found


def failed(rule: str, error: BaseException) -> Violation:
    """A rule that broke has proved nothing."""
    message = f"cannot prove anything: rule {rule} failed with {type(error).__name__}: {dotted([str(error)[:200]])}"
    return violation(
        NAME, None, (), message, "report this as a defect of the policy pack, with the resources that caused it"
    )
