"""Node-local storage whose data outlives the testbed."""

from __future__ import annotations

import pulumi
from pulumi_kubernetes.core.v1 import PersistentVolume, PersistentVolumeClaim
from pulumi_kubernetes.storage.v1 import StorageClass

from components.objects import SKIP_AWAIT, metadata
from testbed import contract as c
from testbed import naming
from testbed.spec import Testbed


class LocalStorage(pulumi.ComponentResource):
    """The class of the testbed's volumes.

    Creates a StorageClass without a provisioner: its volumes are folders each node's administrator prepared.
    """

    def __init__(self, name: str, spec: Testbed, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kubeflower:index:LocalStorage", name, None, opts)
        StorageClass(
            name,
            metadata=metadata(spec, naming.storage_class(spec.name)),
            provisioner="kubernetes.io/no-provisioner",
            volume_binding_mode="WaitForFirstConsumer",
            reclaim_policy="Retain",
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


class LocalVolume(pulumi.ComponentResource):
    """A folder of one node, for one claim of one namespace.

    Creates a PersistentVolume that only this claim can bind and that keeps its data when it is deleted, and the
    PersistentVolumeClaim.
    """

    def __init__(
        self,
        name: str,
        spec: Testbed,
        *,
        namespace: str,
        owner: str,
        purpose: str,
        node: str,
        size: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Declare the volume.

        Args:
            name: logical name, unique in the program.
            spec: the testbed.
            namespace: the claim's namespace.
            owner: a client's id or ``server``; names the folder ``<root>/<testbed>/<owner>/<purpose>``.
            purpose: the claim's name.
            node: where the folder is.
            size: GiB.
            opts: the usual options.
        """
        super().__init__("kubeflower:index:LocalVolume", name, None, opts)
        volume, storage = naming.volume(namespace, purpose), naming.storage_class(spec.name)
        capacity, modes = {"storage": f"{size}Gi"}, ["ReadWriteOnce"]
        here = {"key": c.LABEL_HOSTNAME, "operator": "In", "values": [naming.host(node)]}
        declared = PersistentVolume(
            name,
            metadata=metadata(spec, volume),
            spec={
                "capacity": capacity,
                "accessModes": modes,
                "volumeMode": "Filesystem",
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": storage,
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": namespace,
                    "name": purpose,
                },
                "local": {"path": f"{spec.storage.root}/{spec.name}/{owner}/{purpose}"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        PersistentVolumeClaim(
            name,
            # Not awaited: Pulumi waits until it has seen a claim of a WaitForFirstConsumer class Pending. A claim that
            # names its volume is bound within a second; whoever looks later waits in vain. Nobody needs that wait: a
            # pod is placed only when its claims are bound.
            metadata=metadata(spec, purpose, namespace, annotations=SKIP_AWAIT),
            spec={
                "accessModes": modes,
                "volumeMode": "Filesystem",
                "resources": {"requests": capacity},
                "storageClassName": storage,
                "volumeName": volume,
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[declared]),
        )
        self.register_outputs({})
