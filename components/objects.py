"""What every declared Kubernetes object has in common.

Nested parts of an object are plain data with Kubernetes' own (camelCase) keys: pulumi-kubernetes passes them on as they
are, and they read like the manifests they become.
"""

from __future__ import annotations

from typing import Any

from testbed import contract as c
from testbed.spec import Testbed

# Plain Kubernetes data. The SDK's typed dictionaries know snake_case keys only, hence Any.
Json = Any
SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}  # Pulumi goes on as soon as the object is written


def metadata(
    spec: Testbed,
    name: str,
    namespace: str | None = None,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Json:
    """Return ``metadata`` with the testbed's label; without ``namespace`` for cluster-scoped kinds."""
    body: dict[str, object] = {"name": name, "labels": {c.LABEL_TESTBED: spec.name, **(labels or {})}}
    if namespace is not None:
        body["namespace"] = namespace
    if annotations:
        body["annotations"] = annotations
    return body
