"""Readiness of volumes and of claims to them."""

from __future__ import annotations

from lab.plugins.kubernetes.awaiting.progress import Progress, View
from lab.plugins.kubernetes.properties import get
from lab.plugins.kubernetes.tokens import Kind

_CLASSES = Kind("storage.k8s.io/v1", "StorageClass")


def volume(view: View) -> Progress:
    """A volume is ready once it can be claimed or is."""
    phase = get(view.live, "status", "phase", default="Pending")
    if phase in ("Available", "Bound"):
        return Progress(done=True)
    if phase == "Failed":
        return Progress(failure=f"volume {view.name} failed: {get(view.live, 'status', 'message', default='')}")
    return Progress(message=f"[1/1] Waiting for volume {view.name} to be available (now {phase})")


def claim(view: View) -> Progress:
    """A claim is ready once it is bound; one that binds only when a pod uses it is not waited for."""
    phase = get(view.live, "status", "phase", default="Pending")
    if phase == "Bound":
        return Progress(done=True)
    if phase == "Lost":
        return Progress(failure=f"claim {view.name} has lost its volume")
    name = get(view.live, "spec", "storageClassName", default="")
    storage_class = view.cluster.get(_CLASSES, None, name) if name else None
    if get(storage_class, "volumeBindingMode") == "WaitForFirstConsumer":
        return Progress(done=True)
    return Progress(message=f"[1/1] Waiting for claim {view.name} to be bound to a volume (now {phase})")
