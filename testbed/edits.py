"""Changes of declared objects, for repairs that a machine can apply."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from testbed.manifests import Object, Path_, dotted

Key = tuple[str, str, str, str]  # API group, kind, namespace, name


@dataclass(frozen=True)
class Edit:
    """Set or remove one field of an object, or create an object.

    Attributes:
        key: the object, as ``Object.key``.
        value: the new value, or the new object's body.
    """

    op: Literal["set", "remove", "create"]
    key: Key
    path: Path_ = ()
    value: Any = None

    def __str__(self) -> str:
        _, kind, namespace, name = self.key
        where = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
        if self.op == "create":
            return f"create {where}"
        return f"{self.op} {dotted(self.path)} of {where}" + (f" to {self.value!r}" if self.op == "set" else "")


def _changed(value: Any, path: Path_, edit: Edit) -> Any:
    head, rest = path[0], path[1:]
    if isinstance(head, int):
        items = list(value)
        if rest:
            items[head] = _changed(items[head], rest, edit)
        elif edit.op == "remove":
            del items[head]
        else:
            items[head] = edit.value
        return items
    found = dict(value or {})
    if rest:
        found[head] = _changed(found.get(head), rest, edit)
    elif edit.op == "remove":
        found.pop(head, None)
    else:
        found[head] = edit.value
    return found


def apply(objects: Iterable[Object], edits: Iterable[Edit]) -> tuple[Object, ...]:
    """Return the objects with every edit made; the given ones stay as they are."""
    found = list(objects)
    for edit in edits:
        if edit.op == "create":
            found.append(Object(copy.deepcopy(edit.value), "repair"))
            continue
        found = [replace(o, body=_changed(o.body, edit.path, edit)) if o.key == edit.key else o for o in found]
    return tuple(found)
