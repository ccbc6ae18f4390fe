"""Which kinds may stand beside a testbed: those the rules read, everyday kinds, and what the configuration trusts."""

from __future__ import annotations

from collections.abc import Mapping

# Kinds this project's rules read, or that create no pod and carry no packet, by API group.
KNOWN: Mapping[str, frozenset[str]] = {
    "": frozenset(
        [
            "Pod", "PodTemplate", "ReplicationController", "Namespace", "Node", "Service", "Endpoints",
            "PersistentVolume", "PersistentVolumeClaim", "ConfigMap", "Secret", "ServiceAccount", "ResourceQuota",
            "LimitRange", "Event",
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
    "storage.k8s.io": frozenset(["StorageClass", "CSIDriver", "CSINode", "CSIStorageCapacity", "VolumeAttachment"]),
    "scheduling.k8s.io": frozenset(["PriorityClass"]),
    "coordination.k8s.io": frozenset(["Lease"]),
    "events.k8s.io": frozenset(["Event"]),
    "flowcontrol.apiserver.k8s.io": frozenset(["FlowSchema", "PriorityLevelConfiguration"]),
    "apiextensions.k8s.io": frozenset(["CustomResourceDefinition"]),
    "k8s.cni.cncf.io": frozenset(["NetworkAttachmentDefinition"]),
}  # fmt: skip

# Everyday kinds, each with the reason why it changes no judged object, makes no pod and carries no packet.
EVERYDAY: Mapping[str, Mapping[str, str]] = {
    "monitoring.coreos.com": {
        "ServiceMonitor": "it tells Prometheus what to read; a packet needs a way there, which is judged",
        "PodMonitor": "it tells Prometheus what to read; a packet needs a way there, which is judged",
        "PrometheusRule": "it tells Prometheus what to compute",
    },
    "grafana.integreatly.org": {
        "GrafanaDashboard": "it is a picture",
        "GrafanaFolder": "it holds pictures",
    },
    "cert-manager.io": {
        "Certificate": "it makes a secret of its own namespace",
        "CertificateRequest": "it makes a certificate",
        "Issuer": "it signs certificates",
        "ClusterIssuer": "it signs certificates",
    },
    "admissionregistration.k8s.io": {
        "ValidatingWebhookConfiguration": "it refuses objects and changes none",
        "ValidatingAdmissionPolicy": "it refuses objects and changes none",
        "ValidatingAdmissionPolicyBinding": "it refuses objects and changes none",
    },
    "node.k8s.io": {"RuntimeClass": "it chooses how a node runs the pods that name it"},
    "snapshot.storage.k8s.io": {
        "VolumeSnapshot": "it copies a volume of its namespace; where that is a client's, it is refused",
        "VolumeSnapshotClass": "it says how copies are kept",
    },
}
