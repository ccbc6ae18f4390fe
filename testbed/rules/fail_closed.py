"""fail-closed: whatever cannot be proved is refused, by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, dotted, mapping
from testbed.reachability.acl import Origin
from testbed.reachability.model import texts
from testbed.rules import kinds, rewriters, trespass
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.unknown import unresolved
from testbed.workloads import Pod, is_workload, namespace_labels

NAME = "fail-closed"

CLIENT_NAMESPACE = "-client-"  # of naming.client_namespace
_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
KUSTOMIZE = "kustomize.config.k8s.io"


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
        # The network model reads or refuses what is Kube-OVN's, the other rules what is known.
        if obj.group == "kubeovn.io" or is_workload(obj) or _trusted(context, obj):
            continue
        if obj.kind in rewriters.KINDS or obj.kind in kinds.KNOWN.get(obj.group, ()):
            message = rewriters.problem(obj, ours, context.objects)
            if message:
                yield violation(NAME, obj, (), message, f"limit it to other kinds or namespaces, {_admit(obj)}")
            continue
        if obj.group == KUSTOMIZE:
            message = "cannot prove what it makes of the objects beside it"
            yield violation(NAME, obj, (), message, "check what `kubectl kustomize` renders, without this file")
            continue
        kind = f"kind {obj.kind} ({obj.group or 'core'})"
        if obj.kind in kinds.EVERYDAY.get(obj.group, ()):
            message = _everyday(obj, ours)
            if message:
                yield violation(NAME, obj, ("kind",), message, _admit(obj).removeprefix("or "))
            continue
        if obj.namespace in ours:
            message = f"{kind} is outside the rules and lies in a testbed's namespace: it may create pods there"
            yield violation(NAME, obj, ("kind",), message, f"move it to a namespace of its own, {_admit(obj)}")
            continue
        path, named = _named(obj, names, folders)
        if named:
            message = f"{kind} is outside the rules and names {named}"
            yield violation(NAME, obj, path, message, f"remove the name, {_admit(obj)}")
        elif context.model.testbed:
            message = f"cannot prove what it does: {kind} is outside the rules, and its controller may change others"
            yield violation(NAME, obj, ("kind",), message, _admit(obj).removeprefix("or "))


def _trusted(context: Context, obj: Object) -> bool:
    kind = f"{obj.group}/{obj.kind}"
    return not {kind, f"{kind}/{obj.name}"}.isdisjoint(context.config.closed.trust)


def _admit(obj: Object) -> str:
    """The configuration that admits one object."""
    return (
        f'or trust it in the policy\'s configuration: "fail-closed": {{"trust": ["{obj.group}/{obj.kind}/{obj.name}"]}}'
    )


def _everyday(obj: Object, ours: Mapping[str, Mapping[str, Any]]) -> str:
    """Why an everyday kind is refused all the same."""
    if obj.kind == "VolumeSnapshot" and ours.get(obj.namespace, {}).get(c.LABEL_CLIENT):
        return "it copies a volume of a client, and the copy is in nobody's rules"
    if obj.kind in ("Issuer", "ClusterIssuer") and "http01" in repr(obj.spec.get("acme")):
        return "its HTTP-01 solver makes pods in the namespaces of its certificates"
    return ""


def _named(obj: Object, names: set[str], folders: list[PurePosixPath]) -> tuple[Path_, str]:
    """The first network, namespace or volume of a testbed that an object names."""
    for path, text in texts(obj.body):
        named = next(iter(names.intersection(_WORD.findall(text))), None)
        if named is None and text.startswith("/"):
            named = next((str(f) for f in folders if _reaches(PurePosixPath(text), f, "hostPath" in path)), None)
        if named:
            return path, named
    return (), ""


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
