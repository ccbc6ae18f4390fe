"""Values that are known only after creation, and which of them no rule needs."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.manifests import Object, Path_

# Fields the API server or a controller assigns: nobody declares them, and no rule reads them.
_METADATA = frozenset(
    [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ]
)
_SPEC = {
    "Service": frozenset(["clusterIP", "clusterIPs", "healthCheckNodePort", "ipFamilies", "ipFamilyPolicy"]),
}


def assigned(obj: Object, path: Path_) -> bool:
    """Whether the value at ``path`` is the API server's to give."""
    if path[:1] == ("status",):
        return True
    if len(path) >= 2 and path[0] == "metadata":
        return path[1] in _METADATA
    if len(path) >= 2 and path[0] == "spec" and obj.group == "":
        return path[1] in _SPEC.get(obj.kind, ())
    return False


def unresolved(obj: Object) -> Iterator[Path_]:
    """Paths of ``obj`` whose unknown value a rule might need."""
    return (path for path in obj.unknowns if not assigned(obj, path))
