"""What changes between two versions of a resource's inputs, and whether the change needs a new object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from lab.plugins.kubernetes import apply
from lab.plugins.kubernetes.cluster import ApiError, Cluster, UnknownKindError, Unreachable
from lab.plugins.kubernetes.immutable import Mutability, forces_replacement, refused_as_immutable
from lab.plugins.kubernetes.naming import is_autonamed
from lab.plugins.kubernetes.properties import Object, Path, get, has_unknown
from lab.plugins.kubernetes.tokens import Kind

Change = Literal["add", "delete", "update"]
REPLACE_UNREADY = "pulumi.com/replaceUnready"
_SERVER_FIELDS = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


@dataclass
class Difference:
    """The changes of a resource by property path; those in ``replaces`` need a new object."""

    changes: dict[Path, Change] = field(default_factory=dict)
    replaces: set[Path] = field(default_factory=set)
    delete_first: bool = False


def compare(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Change]]:
    """Yields the innermost properties that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in new:
                yield (*path, key), "delete"
            elif key not in old:
                yield (*path, key), "add"
            else:
                yield from compare(old[key], new[key], (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            if index >= len(new):
                yield (*path, index), "delete"
            elif index >= len(old):
                yield (*path, index), "add"
            else:
                yield from compare(old[index], new[index], (*path, index))
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield path, "update"


def difference(
    cluster: Cluster, kind: Kind, old: Object, new: Object, *, state: Object, manager: str, mutability: Mutability
) -> Difference:
    """Compares a resource's old and new inputs.

    An object that was imported and never applied has defaulted fields among its old inputs. There the server's own
    answer counts: what it would not change is no difference.

    Args:
        cluster: asked, where it answers, which fields it would refuse to change.
        kind: the resource's kind.
        old: the inputs at the last update.
        new: the program's inputs.
        state: the outputs at the last update.
        manager: the field manager of the resource.
        mutability: the provider's settings.
    """
    result = Difference(dict(compare(old, new)))
    unready = get(new, "metadata", "annotations", REPLACE_UNREADY) == "true" and _failed(state)
    if unready:
        status: Path = ("status",)
        result.changes[status] = "update"
        result.replaces.add(status)
    if not result.changes:
        return result
    result.replaces |= {p for p in result.changes if forces_replacement(kind, p, old, new, mutability)}
    if not result.replaces and not kind.patch and not has_unknown(new):
        dry = _dry_run(cluster, kind, new, manager, result)
        if dry is not None and "__fieldManager" not in state and _settled(dry) == _settled(state):
            result.changes.clear()
    result.delete_first = bool(result.replaces) and not is_autonamed(new) and _same_object(old, new)
    return result


def _dry_run(cluster: Cluster, kind: Kind, new: Object, manager: str, result: Difference) -> Object | None:
    """What the server would make of the new inputs; the fields that it will not change are marked for replacement."""
    try:
        return apply.apply(cluster, kind, new, manager, force=True, dry_run=True)
    except ApiError as error:
        fields = refused_as_immutable(error)
        if fields is not None:
            result.replaces |= _below(result.changes, fields) or set(result.changes)
    except (UnknownKindError, Unreachable):
        pass
    return None  # any other refusal is the update's to report


def _below(changes: dict[Path, Change], fields: list[str]) -> set[Path]:
    """The changes at or below the fields that the server names, for example ``spec.template``."""
    prefixes = [tuple(name.partition("[")[0].split(".")) for name in fields if name]
    return {path for path in changes if any(path[: len(prefix)] == prefix for prefix in prefixes)}


def _settled(value: Object) -> Object:
    kept = {key: part for key, part in value.items() if key != "status" and not key.startswith("__")}
    metadata = kept.get("metadata") or {}
    kept["metadata"] = {key: part for key, part in metadata.items() if key not in _SERVER_FIELDS}
    return kept


def _failed(state: Object) -> bool:
    conditions = get(state, "status", "conditions", default=[])
    failed = any(get(entry, "type") == "Failed" and get(entry, "status") == "True" for entry in conditions)
    return failed or get(state, "status", "phase") == "Failed"


def _same_object(old: Object, new: Object) -> bool:
    return all(get(old, "metadata", key) == get(new, "metadata", key) for key in ("name", "namespace"))
