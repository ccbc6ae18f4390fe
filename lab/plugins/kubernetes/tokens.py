"""What a Pulumi type token of the Kubernetes package says: ``kubernetes:apps/v1:DeploymentPatch``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Modules of the SDK whose resources are no Kubernetes objects.
_NOT_OBJECTS = ("helm.sh/", "kustomize", "yaml")

_CLUSTER_SCOPED = frozenset(
    {
        ("", "Namespace"), ("", "Node"), ("", "PersistentVolume"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"), ("apiregistration.k8s.io", "APIService"),
        ("certificates.k8s.io", "CertificateSigningRequest"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
        ("networking.k8s.io", "IngressClass"), ("networking.k8s.io", "IPAddress"),
        ("networking.k8s.io", "ServiceCIDR"), ("node.k8s.io", "RuntimeClass"),
        ("rbac.authorization.k8s.io", "ClusterRole"), ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("resource.k8s.io", "DeviceClass"), ("resource.k8s.io", "ResourceSlice"),
        ("scheduling.k8s.io", "PriorityClass"), ("storage.k8s.io", "CSIDriver"), ("storage.k8s.io", "CSINode"),
        ("storage.k8s.io", "StorageClass"), ("storage.k8s.io", "VolumeAttachment"),
        ("storage.k8s.io", "VolumeAttributesClass"),
    }
)  # fmt: skip


class Unsupported(Exception):  # noqa: N818 - not a fault: a feature that only the official provider has
    """A feature that this provider leaves to the official one."""

    def __init__(self, feature: str) -> None:
        super().__init__(
            f"{feature} is not available in the lab's Kubernetes provider; the official pulumi-resource-kubernetes "
            "has it: install that plugin, or declare the resources one by one"
        )


@dataclass(frozen=True)
class Kind:
    """The Kubernetes kind of a resource, and whether the resource is the object or a patch of one."""

    api_version: str
    kind: str
    patch: bool = False

    @property
    def group(self) -> str:
        """The API group, empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def namespaced_by_rule(self) -> bool:
        """Whether the kind is namespaced, as far as that is known without a cluster."""
        return (self.group, self.kind) not in _CLUSTER_SCOPED


def parse(token: str, inputs: dict[str, Any]) -> Kind:
    """The kind that a resource's type token and inputs name.

    Args:
        token: the type, for example ``kubernetes:core/v1:Pod``.
        inputs: the resource's inputs; a ``kind`` there tells a patch from a kind whose name ends in "Patch".

    Raises:
        Unsupported: the token names a Helm, Kustomize or YAML component, or a list of objects.
    """
    _, module, name = token.split(":", 2)
    if module.startswith(_NOT_OBJECTS):
        raise Unsupported(f"{token} (Helm, Kustomize and YAML components)")
    group, _, version = module.rpartition("/")
    api_version = inputs.get("apiVersion") or (version if group in ("", "core") else module)
    if name.endswith("List") and isinstance(inputs.get("items"), list):
        raise Unsupported(f"{token} (a list declared as one resource)")
    patch = name.endswith("Patch") and inputs.get("kind") != name
    return Kind(str(api_version), name.removesuffix("Patch") if patch else name, patch)
