"""What every declared Kubernetes object has in common.

Nested parts of an object are plain data with Kubernetes' own (camelCase) keys: pulumi-kubernetes passes them on as they
are, and they read like the manifests they become.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pulumi

from testbed import contract as c
from testbed.spec import Testbed

# Plain Kubernetes data. The SDK's typed dictionaries know snake_case keys only, hence Any.
Json = Any

Resource = TypeVar("Resource", bound=pulumi.Resource)


def declare(
    resource: Callable[..., Resource], name: str, /, *, opts: pulumi.ResourceOptions | None = None, **manifest: Json
) -> Resource:
    """Declare a resource with the parts of its manifest.

    A type checker that matches a manifest against the SDK's nested unions directly takes gigabytes and minutes.
    """
    return resource(name, opts=opts, **manifest)


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
