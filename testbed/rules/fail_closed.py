"""fail-closed: whatever cannot be proved is refused, by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from testbed import contract as c
from testbed.manifests import Object, dotted, mapping
from testbed.reachability.acl import Origin
from testbed.reachability.model import texts
from testbed.rules import rewriters, trespass
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
CLIENT_NAMESPACE = "-client-"  # of naming.client_namespace
_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
KUSTOMIZE, AGGREGATION = "kustomize.config.k8s.io", "apiregistration.k8s.io"


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
        if pod.namespace not in labels_of:
            continue  # told by _undeclared
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
        elif role in (c.ROLE_CLIENT, c.ROLE_P3VC):
            path = pod.path("metadata", "labels", c.LABEL_CLIENT)
            message = f"cannot prove whose pod it is: role {role} without a client"
            yield violation(NAME, pod.owner, path, message, f"label pod and namespace with {c.LABEL_CLIENT}")
    for client, spaces in homes.items():
        if len(spaces) > 1:
            for obj in context.objects:
                if obj.kind == "Namespace" and obj.name in spaces:
                    message = f"client {client} has several namespaces: {', '.join(sorted(spaces))}"
                    yield violation(
                        NAME, obj, ("metadata", "labels", c.LABEL_CLIENT), message, "give each client one namespace"
                    )


def _undeclared(context: Context) -> Iterator[Violation]:
    """Pods of a testbed in a namespace that is not there to say whose it is."""
    declared, seen = namespace_labels(context.objects), set[str]()
    for pod in context.pods:
        if pod.namespace in declared or pod.namespace in seen or not (pod.role or pod.client or _client_named(pod)):
            continue
        seen.add(pod.namespace)
        message = f"namespace {pod.namespace} is not declared: cannot prove whose pod it is"
        yield violation(NAME, pod.owner, ("metadata", "namespace"), message, "declare the namespace with its labels")


def _client_named(pod: Pod) -> bool:
    return CLIENT_NAMESPACE in pod.namespace


def _unmodelled(context: Context) -> Iterator[Violation]:
    labels_of = namespace_labels(context.objects)
    ours = {n: labels for n, labels in labels_of.items() if labels.get(c.LABEL_ROLE)}
    subnets = context.model.client_subnets
    names = set(subnets) | {context.model.subnets[n].vpc for n in subnets} - {c.DEFAULT_VPC} | set(ours)
    volumes = _volumes(context, ours)
    names |= {volume.name for volume in volumes}
    folders = [PurePosixPath(str(path)) for volume in volumes for path in _folders(volume)]
    for obj in context.objects:
        if obj.group == "kubeovn.io" or is_workload(obj):
            continue  # the network model reads or refuses these
        if obj.kind in KNOWN.get(obj.group, ()):
            continue
        if obj.kind in rewriters.KINDS:
            if rewriters.may_rewrite(obj, ours):
                message = "it may rewrite a testbed's objects after they were judged"
                yield violation(NAME, obj, (), message, "limit its rules to other kinds or namespaces, or remove it")
            continue
        if obj.group == AGGREGATION and obj.spec.get("group") in rewriters.WRITTEN:
            message = f"it serves group {obj.spec.get('group')}, whose objects were judged, from elsewhere"
            yield violation(NAME, obj, ("spec", "group"), message, "remove it")
            continue
        if obj.group == KUSTOMIZE:
            message = "cannot prove what it makes of the objects beside it"
            yield violation(NAME, obj, (), message, "check what `kubectl kustomize` renders, without this file")
            continue
        kind = f"kind {obj.kind} ({obj.group or 'core'})"
        if obj.namespace in ours:
            message = f"{kind} is outside the rules and lies in a testbed's namespace: it may create pods there"
            yield violation(NAME, obj, (), message, "remove it, or move it to a namespace of its own")
            continue
        for path, text in texts(obj.body):
            named = next(iter(names.intersection(_WORD.findall(text))), None)
            if named is None and text.startswith("/"):
                named = next((str(f) for f in folders if _reaches(PurePosixPath(text), f, "hostPath" in path)), None)
            if named:
                message = f"{kind} is outside the rules and names {named}"
                yield violation(NAME, obj, path, message, "remove the name, or the object")
                break


def _volumes(context: Context, ours: Mapping[str, object]) -> list[Object]:
    """Volumes reserved for a testbed's claims."""
    found = (o for o in context.objects if o.kind == "PersistentVolume" and o.group == "")
    return [o for o in found if mapping(o.spec.get("claimRef")).get("namespace") in ours]


def _folders(volume: Object) -> Iterator[object]:
    for source in ("local", "hostPath", "nfs"):
        if path := mapping(volume.spec.get(source)).get("path"):
            yield path


def _reaches(path: PurePosixPath, folder: PurePosixPath, mounted: bool) -> bool:
    """Tell whether a path lies in a folder or, where it is mounted, holds it."""
    return path.is_relative_to(folder) or (mounted and folder.is_relative_to(path))


def _hazards(context: Context) -> Iterator[Violation]:
    """What keeps isolation from being proved, each cause once, with every field that meets it."""
    causes: dict[tuple[str, str], list[Origin]] = defaultdict(list)
    touched: dict[tuple[str, str], frozenset[str]] = defaultdict(frozenset)
    for hazard, nets in context.reachability.touching:
        if not hazard.value:  # an unknown value is reported by its path above
            cause = (hazard.reason, hazard.repair)
            causes[cause].append(hazard.origin)
            touched[cause] |= nets
    for cause, origins in causes.items():
        reason, repair = cause
        named = sorted(touched[cause])
        where = f" ({', '.join(named[:3])}{' ...' if len(named) > 3 else ''})" if named else ""
        message = f"cannot prove isolation: {reason}{where}"
        lines = tuple(str(origin) for origin in origins[:8]) if len(origins) > 1 else ()
        yield violation(NAME, origins[0].obj, origins[0].path, message, repair, witness=lines)


def check(context: Context) -> list[Violation]:
    """Refuse unknown values, unmodelled kinds and unclear identities."""
    found = []
    for part in (_unknown, _patches, _twice, _identity, _undeclared, trespass.check, _unmodelled, _hazards):
        found += list(part(context))
    return found


def failed(rule: str, error: BaseException) -> Violation:
    """A rule that broke has proved nothing."""
    message = f"cannot prove anything: rule {rule} failed with {type(error).__name__}: {dotted([str(error)[:200]])}"
    return violation(
        NAME, None, (), message, "report this as a defect of the policy pack, with the resources that caused it"
    )
