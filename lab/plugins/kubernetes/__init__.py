"""The ``pulumi-resource-kubernetes`` stand-in: the part of Pulumi's Kubernetes provider that testbeds meet.

It applies resources to a real API server by server-side apply and waits for them as the official provider does. What
it leaves out (Helm, Kustomize, YAML components, rendering to files) it refuses by name.
"""

import importlib.metadata


def version() -> str:
    """The version of the installed Kubernetes SDK: the version of the plugin that its resources ask for."""
    return importlib.metadata.version("pulumi-kubernetes")
