"""The pods a set of objects will create, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Path_, mapping, sequence

# Where each workload kind keeps its pod template.
TEMPLATES: Mapping[str, Path_] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
WORKLOAD_GROUPS = ("", "apps", "batch", "extensions")


def get(value: Any, path: Path_) -> Any:
    """The value at ``path``, None when any step is absent."""
    for part in path:
        if isinstance(part, int):
            items = sequence(value)
            value = items[part] if part < len(items) else None
        else:
            value = mapping(value).get(part)
    return value


@dataclass(frozen=True, eq=False)
class Pod:
    """The pods of one workload: a template with its owner.

    Attributes:
        client: ``testbed/client`` of the data owner it belongs to, None when it is no client's.
        role: ``server``, ``client``, ``p3vc``, ``run`` or None for a pod that is no part of a testbed.
        group: ``testbed/network`` of the client's declared network group.
    """

    owner: Object
    template: Path_
    client: str | None
    role: str | None
    group: str | None

    @cached_property
    def body(self) -> Mapping[str, Any]:
        """The template: ``metadata`` and ``spec``."""
        return mapping(get(self.owner.body, self.template))

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """The pod's spec."""
        return mapping(self.body.get("spec"))

    @cached_property
    def annotations(self) -> Mapping[str, Any]:
        """The template's annotations."""
        return mapping(mapping(self.body.get("metadata")).get("annotations"))

    @cached_property
    def labels(self) -> Mapping[str, Any]:
        """The template's labels."""
        return mapping(mapping(self.body.get("metadata")).get("labels"))

    @property
    def namespace(self) -> str:
        """Namespace of the owner."""
        return self.owner.namespace

    @cached_property
    def name(self) -> str:
        """``namespace/workload``."""
        return f"{self.owner.namespace}/{self.owner.name}"

    def path(self, *parts: str | int) -> Path_:
        """A path below the template, from the owner's root."""
        return (*self.template, *parts)

    def annotation(self, key: str) -> Path_:
        """Path of a template annotation."""
        return self.path("metadata", "annotations", key)

    def containers(self) -> Iterator[tuple[Path_, Mapping[str, Any]]]:
        """Every container of any kind with its path from the owner's root."""
        for kind in ("initContainers", "containers", "ephemeralContainers"):
            for index, container in enumerate(sequence(self.spec.get(kind))):
                yield self.path("spec", kind, index), mapping(container)


def is_workload(obj: Object) -> bool:
    """Whether the object creates pods by a template this module understands."""
    return obj.kind in TEMPLATES and obj.group in WORKLOAD_GROUPS


def owner(labels: Mapping[str, Any], namespace: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The client and the network group of a pod, each with its testbed, by its labels and its namespace's."""
    testbed = labels.get(c.LABEL_TESTBED) or namespace.get(c.LABEL_TESTBED) or ""
    prefix = f"{testbed}/" if testbed else ""
    client = namespace.get(c.LABEL_CLIENT) or labels.get(c.LABEL_CLIENT)
    network = namespace.get(c.LABEL_NETWORK) or labels.get(c.LABEL_NETWORK)
    return (f"{prefix}{client}" if client else None), (f"{prefix}{network}" if network else None)


def namespace_labels(objects: Iterable[Object]) -> dict[str, Mapping[str, Any]]:
    """Labels of every declared namespace."""
    return {o.name: o.labels for o in objects if o.kind == "Namespace" and o.group == ""}


def pods(objects: Iterable[Object]) -> tuple[Pod, ...]:
    """Every pod template, in the order given.

    A namespace's client wins over the template's label: a pod cannot leave its owner by calling itself another's.
    """
    objects = tuple(objects)
    labels_of = namespace_labels(objects)
    found = []
    for obj in objects:
        if not is_workload(obj):
            continue
        template = TEMPLATES[obj.kind]
        labels = mapping(get(obj.body, (*template, "metadata", "labels")))
        namespace = labels_of.get(obj.namespace, {})
        client, group = owner(labels, namespace)
        role = labels.get(c.LABEL_ROLE) or namespace.get(c.LABEL_ROLE)
        if client and role not in (c.ROLE_CLIENT, c.ROLE_P3VC):
            role = c.ROLE_CLIENT
        found.append(Pod(obj, template, client, str(role) if role else None, group))
    return tuple(found)
