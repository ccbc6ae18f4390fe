"""Pulumi's property values to plain Python and back; unknown values stay in place, secrets are kept as paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import struct_pb2
from pulumi.runtime import rpc

UNKNOWN: str = rpc.UNKNOWN
"""The text that stands for a value known only after the update; the wire format's own."""

Path = tuple[str | int, ...]
Object = dict[str, Any]

_SIGNATURE = rpc._special_sig_key
_SECRET = rpc._special_secret_sig
_OUTPUT = rpc._special_output_value_sig


def decode(message: struct_pb2.Struct) -> tuple[Object, set[Path]]:
    """Reads a property map.

    Returns:
        The plain values, without nulls and with whole numbers as ``int``, and the paths of those that are secret.

    Raises:
        ValueError: a value is an asset or an archive, which no Kubernetes field takes.
    """
    secrets: set[Path] = set()
    return {key: _decode(value, (key,), secrets) for key, value in message.fields.items() if _given(value)}, secrets


def encode(values: Object, secrets: set[Path]) -> struct_pb2.Struct:
    """Writes a property map, with the values at the given paths marked secret."""
    message = struct_pb2.Struct()
    for key, value in values.items():
        message.fields[key].CopyFrom(_encode(value, (key,), secrets))
    return message


def has_unknown(value: Any) -> bool:
    """Whether any part of a value is unknown."""
    if isinstance(value, dict):
        return any(has_unknown(part) for part in value.values())
    if isinstance(value, list):
        return any(has_unknown(part) for part in value)
    return bool(value == UNKNOWN)


def get(values: Any, *path: str | int, default: Any = None) -> Any:
    """The value at a path, or the default where the path leads nowhere or to something unknown."""
    found, value = _follow(values, path)
    return value if found and value is not None and value != UNKNOWN else default


def secret_paths(outputs: Object, inputs: set[Path]) -> set[Path]:
    """The paths of an object's outputs that are secret: those of its inputs, and the data of every Secret."""
    paths = {path for path in inputs if _follow(outputs, path)[0]}
    if outputs.get("kind") == "Secret" and outputs.get("apiVersion") == "v1":
        paths |= {(key,) for key in ("data", "stringData") if key in outputs}
    return paths


def _follow(values: Any, path: Path) -> tuple[bool, Any]:
    for step in path:
        known = isinstance(values, dict) and step in values
        if not known and not (isinstance(values, list) and isinstance(step, int) and step < len(values)):
            return False, None
        values = values[step]
    return True, values


def _given(value: struct_pb2.Value) -> bool:
    return bool(value.WhichOneof("kind") != "null_value")


def _decode(value: struct_pb2.Value, path: Path, secrets: set[Path]) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "list_value":
        return [_decode(part, (*path, index), secrets) for index, part in enumerate(value.list_value.values)]
    if kind == "struct_value":
        fields = value.struct_value.fields
        signature = fields[_SIGNATURE].string_value if _SIGNATURE in fields else None
        if signature == _SECRET:
            secrets.add(path)
            return _decode(fields["value"], path, secrets)
        if signature == _OUTPUT:
            if fields["secret"].bool_value:
                secrets.add(path)
            return _decode(fields["value"], path, secrets) if "value" in fields else UNKNOWN
        if signature is not None:
            raise ValueError(
                f"{render(path)} is an asset, an archive or a resource; Kubernetes takes plain values only"
            )
        return {key: _decode(part, (*path, key), secrets) for key, part in fields.items() if _given(part)}
    return None if kind == "null_value" else getattr(value, str(kind))


def _encode(value: Any, path: Path, secrets: set[Path]) -> struct_pb2.Value:
    message = struct_pb2.Value()
    if path in secrets:
        inner = _encode(value, path, secrets - {path})
        message.struct_value.fields[_SIGNATURE].string_value = _SECRET
        message.struct_value.fields["value"].CopyFrom(inner)
    elif isinstance(value, dict):
        message.struct_value.SetInParent()
        for key, part in value.items():
            message.struct_value.fields[key].CopyFrom(_encode(part, (*path, key), secrets))
    elif isinstance(value, list):
        message.list_value.SetInParent()
        message.list_value.values.extend(_encode(part, (*path, i), secrets) for i, part in enumerate(value))
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int | float):
        message.number_value = value
    elif value is None:
        message.null_value = struct_pb2.NULL_VALUE
    else:
        message.string_value = str(value)
    return message


def render(path: Path) -> str:
    """A property path as Pulumi writes it: ``spec.ports[0].port``, ``metadata.annotations["a.b/c"]``."""
    return "".join(_steps(path)).removeprefix(".")


def _steps(path: Path) -> Iterator[str]:
    for step in path:
        if isinstance(step, int):
            yield f"[{step}]"
        elif step.replace("_", "a").isalnum():
            yield f".{step}"
        else:
            yield f'["{step}"]'
