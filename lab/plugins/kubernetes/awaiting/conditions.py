"""Readiness of namespaces, services, quotas and custom resource definitions."""

from __future__ import annotations

from lab.plugins.kubernetes.awaiting.progress import Progress, View, condition, holds
from lab.plugins.kubernetes.properties import get
from lab.plugins.kubernetes.tokens import Kind

_SLICES = Kind("discovery.k8s.io/v1", "EndpointSlice")


def namespace(view: View) -> Progress:
    """A namespace is ready once it is active."""
    if get(view.live, "status", "phase") == "Active":
        return Progress(done=True)
    return Progress(message=f"[1/1] Waiting for namespace {view.name} to be active")


def quota(view: View) -> Progress:
    """A quota is ready once it is enforced as declared."""
    if get(view.live, "status", "hard", default={}) == get(view.live, "spec", "hard", default={}):
        return Progress(done=True)
    return Progress(message=f"[1/1] Waiting for resource quota {view.name} to be enforced")


def service(view: View) -> Progress:
    """A service is ready once it has an address and, where it picks pods, one of them can be reached.

    Headless services, external names and services without a selector have no pods to wait for.
    """
    kind = get(view.live, "spec", "type", default="ClusterIP")
    if kind == "LoadBalancer" and not get(view.live, "status", "loadBalancer", "ingress"):
        return Progress(message=f"[1/2] Waiting for service {view.name} to be given a load balancer")
    headless = get(view.live, "spec", "clusterIP") == "None"
    if kind == "ExternalName" or headless or not get(view.live, "spec", "selector"):
        return Progress(done=True)
    slices = view.cluster.list(
        _SLICES,
        get(view.live, "metadata", "namespace"),
        f"kubernetes.io/service-name={view.live['metadata']['name']}",
    )
    ready = any(
        get(endpoint, "conditions", "ready", default=True)
        for found in slices
        for endpoint in found.get("endpoints") or []
    )
    if ready:
        return Progress(done=True)
    return Progress(message=f"[1/2] Waiting for service {view.name}: no ready pod matches its selector")


def definition(view: View) -> Progress:
    """A custom resource definition is ready once its kind is served."""
    if holds(view.live, "Established"):
        return Progress(done=True)
    names = condition(view.live, "NamesAccepted")
    if names.get("status") == "False":
        return Progress(failure=f"custom resource definition {view.name}: {names.get('message')}")
    return Progress(message=f"[1/1] Waiting for custom resource definition {view.name} to be established")
