"""What a resource's inputs would have to be for its live object to be as it is: the inputs after a refresh."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from lab.plugins.kubernetes.properties import Object

_SERVER_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
_MERGE_KEYS = ("name", "key", "ip", "containerPort", "port", "mountPath", "devicePath", "topologyKey", "type")
_ABSENT = object()


def imported(live: Object) -> Object:
    """The inputs of an object that Pulumi did not make: the object without what the server alone writes."""
    inputs = {key: value for key, value in live.items() if key != "status"}
    inputs["metadata"] = {key: value for key, value in live.get("metadata", {}).items() if key not in _SERVER_METADATA}
    return inputs


def refreshed(inputs: Object, recorded: Object, live: Object) -> Object:
    """The inputs with the fields that somebody else changed since the last update.

    A field that is as it was recorded keeps its input, however the server spells it ("1000m" or "1").

    Args:
        inputs: the inputs of the last update.
        recorded: the outputs of the last update.
        live: the object as it is now.
    """
    result = _merge(inputs, _with_string_data(recorded, inputs), _with_string_data(live, inputs))
    result["apiVersion"], result["kind"] = inputs.get("apiVersion"), inputs.get("kind")
    return {key: value for key, value in result.items() if value is not None}


def _merge(given: Any, recorded: Any, live: Any) -> Any:
    if live == recorded:
        return given
    if isinstance(given, dict) and isinstance(live, dict):
        merged = {}
        for key, value in given.items():
            now = live.get(key, _ABSENT)
            then = recorded.get(key, _ABSENT) if isinstance(recorded, dict) else _ABSENT
            if now is _ABSENT:
                if then is _ABSENT:
                    merged[key] = value
            else:
                merged[key] = _merge(value, then, now)
        return merged
    if isinstance(given, list) and isinstance(live, list):
        return _merge_lists(given, recorded if isinstance(recorded, list) else [], live)
    return live


def _merge_lists(given: list[Any], recorded: list[Any], live: list[Any]) -> list[Any]:
    """Pairs the elements of lists by their merge key, or by their place; elements only the server has are left out."""
    known = {id(element): _key(element) for element in (*given, *recorded, *live)}
    if any(key is None for key in known.values()):
        if len(given) != len(live):
            return live
        return [
            _merge(element, recorded[index] if index < len(recorded) else _ABSENT, live[index])
            for index, element in enumerate(given)
        ]
    before = {_key(element): element for element in recorded}
    mine = {_key(element): element for element in given}
    merged = []
    for element in live:
        key = _key(element)
        if key in mine:
            merged.append(_merge(mine[key], before.get(key, _ABSENT), element))
        elif key not in before:
            merged.append(element)
    return merged


def _key(element: Any) -> Any:
    if isinstance(element, dict):
        return next(((key, element[key]) for key in _MERGE_KEYS if key in element), None)
    return None


def _with_string_data(value: Object, inputs: Object) -> Object:
    """A Secret with its data also in the form in which the program gives it."""
    if "stringData" not in inputs or not isinstance(value.get("data"), dict):
        return value
    texts = {}
    for key in inputs["stringData"]:
        try:
            texts[key] = base64.b64decode(value["data"][key]).decode()
        except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
            continue
    return {**value, "stringData": texts}
