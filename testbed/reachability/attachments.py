"""Secondary networks: what a pod asks Multus for, and what each NetworkAttachmentDefinition is to Kube-OVN."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from testbed import contract as c
from testbed.manifests import Object, Unknown
from testbed.reachability import properties
from testbed.workloads import Pod

DEFAULT_NETWORK = "v1.multus-cni.io/default-network"
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Selection:
    """One network a pod asks for (``NetworkSelectionElement`` of k8s.cni.cncf.io/v1).

    Attributes:
        key: the annotation that asks for it.
        namespace: of the attachment; the pod's where the selection names none.
        interface: the name it gives the interface; empty when it gives none.
        doubts: what its fields leave open, each a reason and a repair.
    """

    key: str
    namespace: str
    name: str
    interface: str = ""
    ips: tuple[str, ...] = ()
    doubts: tuple[tuple[str, str], ...] = ()

    @property
    def attachment(self) -> tuple[str, str]:
        """Namespace and name of the NetworkAttachmentDefinition."""
        return self.namespace, self.name

    @property
    def provider(self) -> str:
        """Kube-OVN's provider of the NIC, in every release when the attachment is asked for once.

        Kube-OVN ``pkg/controller/pod.go``, getPodAttachmentNet.
        """
        return f"{self.name}.{self.namespace}.ovn"

    def per_interface(self, field: str) -> str:
        """The annotation of 1.16 that goes before the NIC's own ``field`` (``pod.go``, perInterfaceIPAnnotationKey)."""
        return f"{self.name}.{self.namespace}.kubernetes.io/{field}.{self.interface}"


def cni(text: str, *read: str) -> Any:
    """JSON of CNI, which Go reads: encoding/json takes a key in any case, and the last of several.

    Args:
        text: the JSON.
        read: the keys the model reads.

    Raises:
        ValueError: when it is not JSON, or a key is given twice or as ``read`` in another case.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            fold = key.casefold()
            if fold in found:
                raise ValueError(f"key {key!r} is given twice, in any case of letters")
            if fold in read and key != fold:
                raise ValueError(f"key {key!r} must be written {fold!r}")
            found[fold] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def selections(pod: Pod, key: str) -> Iterator[Selection]:
    """The networks that annotation ``key`` of a pod asks for.

    Read as Multus and Kube-OVN do: ``network-attachment-definition-client`` ``pkg/utils``, ParseNetworkAnnotation.

    Raises:
        ValueError: when the annotation cannot be read.
    """
    value = pod.annotations.get(key)
    if value in (None, ""):
        return
    if not isinstance(value, str):
        raise ValueError("it is not known before creation" if isinstance(value, Unknown) else "it is not text")
    if not any(mark in value for mark in '[{"'):
        for part in value.split(","):
            yield _text(part, pod, key)
        return
    entries = cni(value, *properties.SELECTION)
    if not isinstance(entries, list):
        raise ValueError("it is not a list")
    for entry in entries:
        yield _entry(entry, pod, key)


def _text(part: str, pod: Pod, key: str) -> Selection:
    """``namespace/name@interface``."""
    namespace, _, rest = part.rpartition("/")
    name, _, interface = rest.partition("@")
    namespace, name, interface = namespace.strip(), name.strip(), interface.strip()
    if not name or any(word and not _NAME.fullmatch(word) for word in (namespace, name, interface)):
        raise ValueError(f"{part.strip()!r} is not namespace/name@interface in lower case")
    return Selection(key, namespace or pod.namespace, name, interface, (), _home(key, namespace))


def _entry(entry: Any, pod: Pod, key: str) -> Selection:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise ValueError("an entry has no name")
    texts = [entry.get(field) or "" for field in ("namespace", "interface")]
    ips = entry.get("ips") or []
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a namespace or an interface is not text")
    if not isinstance(ips, list) or not all(isinstance(ip, str) for ip in ips):
        raise ValueError("'ips' is not a list of texts")
    doubts = list(_home(key, texts[0]))
    for path, why in properties.hazards(properties.SELECTION, entry):
        doubts.append((f"{path[0]!r} of a network selection: {why}", f"remove {path[0]!r}"))
    return Selection(key, texts[0] or pod.namespace, entry["name"], texts[1], tuple(ips), tuple(doubts))


def _home(key: str, namespace: str) -> tuple[tuple[str, str], ...]:
    """A default network without a namespace: Multus looks in its own, Kube-OVN in the pod's."""
    if key != DEFAULT_NETWORK or namespace:
        return ()
    return (("Multus and Kube-OVN look for its default network in different namespaces", "remove the annotation"),)


def problem(attachment: Object) -> tuple[str, bool]:
    """What keeps a NetworkAttachmentDefinition from being one Kube-OVN network; empty when it is one.

    Kube-OVN's controller takes provider ``<name>.<namespace>.ovn`` (``pkg/controller/pod.go``, getPodAttachmentNet),
    its CNI plugin the configuration's own: where they differ, the NIC is not the one the annotations describe.

    Returns:
        The reason, and whether Kube-OVN may give the NIC a port all the same.
    """
    try:
        config = cni(str(attachment.spec.get("config")), "type", "provider", "plugins")
    except ValueError as error:
        return f"cannot be read: {error}", True
    if not isinstance(config, dict):
        return "is not a CNI configuration", True
    if "plugins" in config:
        plugins = config["plugins"] if isinstance(config["plugins"], list) else [{"type": "kube-ovn"}]
        types = {config.get("type"), *(one.get("type") for one in plugins if isinstance(one, dict))}
        return "is a list of CNI plugins, which OVN does not isolate", "kube-ovn" in types
    if config.get("type") != "kube-ovn":
        return "is not a kube-ovn network: OVN does not isolate it", False
    provider = f"{attachment.name}.{attachment.namespace}.ovn"
    if config.get("provider") != provider:
        return f"has provider {config.get('provider')!r}, not {provider!r}: what it attaches is unknown", True
    more = next(properties.hazards(properties.CONFIG, config), None)
    return (f"has {more[0][0]!r}: {more[1]}" if more else ""), True


def declared(objects: tuple[Object, ...]) -> dict[tuple[str, str], Object]:
    """NetworkAttachmentDefinitions by namespace and name."""
    return {
        (o.namespace, o.name): o
        for o in objects
        if o.kind == "NetworkAttachmentDefinition" and o.group == "k8s.cni.cncf.io"
    }


KEYS = (DEFAULT_NETWORK, c.MULTUS_NETWORKS)
