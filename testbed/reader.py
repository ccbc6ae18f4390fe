"""Manifest files, read as kubectl reads them, and refused with their line where another reader might read otherwise."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from testbed.manifests import Object, expand


class UnreadableError(ValueError):
    """A manifest that cannot be read; the message starts with ``file:line``."""

    def __init__(self, path: str, line: int | None, why: str) -> None:
        self.path, self.line, self.why = path, line, why
        super().__init__(f"{path}:{line}: {why}" if line else f"{path}: {why}")


# What go-yaml v2 (resolve.go), which kubectl reads by, takes for more than text.
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{form: True for word in ("true", "yes", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("false", "no", "off") for form in (word, word.title(), word.upper())},
}
# What it takes for a boolean or a number, and other readers for text.
_TWOFOLD = re.compile(r"[yYnN]|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_OCTAL = re.compile(r"[-+]?0[0-7]+")  # file modes
_HEX = re.compile(r"[-+]?0x[0-9a-fA-F]+")
_FRACTION = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NUMBER = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_DEPTH = 100  # levels of one object; the deepest Kubernetes kinds, JSON schemas of pods, have about 40
MAX_REPEATED = 100_000  # values that aliases may repeat


def _whole(text: str, base: int = 10) -> int:
    value = int(text, base) if len(text) < 30 else 1 << 64
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{text[:20]} is beyond 64 bits: quote it if it is text")
    return value


def _fraction(text: str) -> int | float:
    """A number with a fraction, an integer where the fraction is none: kubectl's JSON has no other form of it."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number: quote it if it is text")
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


def _plain(text: str) -> bool | float | str | None:
    """What kubectl makes of an unquoted scalar; dates and base-60 numbers are text.

    Raises:
        ValueError: for one that readers take for different things.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _whole(text)
    if _OCTAL.fullmatch(text):
        return _whole(text, 8)
    if _HEX.fullmatch(text):
        return _whole(text, 16)
    if _FRACTION.fullmatch(text):
        return _fraction(text)
    if text == "<<":
        raise ValueError("merge key <<: readers differ on what wins; write the values out")
    if _TWOFOLD.fullmatch(text) or (text[0] in "+-.0123456789" and _NUMBER.fullmatch(text.replace("_", ""))):
        raise ValueError(f"{text[:20]} is text to some readers only: quote it, or write true, false or a plain number")
    return text


def _text(value: str) -> str:
    if not value.isascii() and _SURROGATE.search(value):
        raise ValueError("half of a character (a lone surrogate): write the whole character")
    return value


class _Documents:
    """The documents of a YAML text, built from the parser's events.

    What kubectl (go-yaml v2, sigs.k8s.io/yaml) might read otherwise is refused: tags, merge keys, keys that are not
    text or are given twice, scalars that are text to some readers only. Aliases are values like any other, but bounded.
    """

    def __init__(self, text: str) -> None:
        # libyaml, of which go-yaml is a port, where PyYAML was built with it.
        self.events: Iterator[Any] = yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.line = self.count = self.repeated = 0

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        """Every document with its first line."""
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.anchors = {}
                root = next(self.events)
                self.line = line = root.start_mark.line + 1
                yield self._value(root, 0), line

    def _value(self, event: Any, depth: int) -> Any:
        self.line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor))
        if event.tag is not None:
            raise ValueError(f"tag {event.tag!r}: readers differ on tags; remove it, and quote what is text")
        before = self.count
        self.count += 1
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = _text(event.value) if event.style else _plain(event.value)
        elif depth == MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels: no Kubernetes object is")
        elif isinstance(event, yaml.SequenceStartEvent):
            value = [self._value(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
        else:
            value = {}
            for item in self._until(yaml.MappingEndEvent):
                key = self._key(self._value(item, depth + 1), value)
                value[key] = self._value(next(self.events), depth + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.count - before
        return value

    def _until(self, end: type) -> Iterator[Any]:
        for event in self.events:
            if isinstance(event, end):
                return
            yield event

    def _key(self, key: Any, found: Mapping[str, Any]) -> str:
        if not isinstance(key, str):
            raise ValueError(f"key {str(key)[:40]} is not text: quote it")
        if key in found:
            raise ValueError(f"key {key!r} is given twice")
        return key

    def _alias(self, anchor: str) -> Any:
        if anchor not in self.anchors:  # also within the anchor's own value
            raise ValueError(f"alias *{anchor} names no finished value before it: write the value out")
        value, size = self.anchors[anchor]
        self.count += size
        self.repeated += size
        if self.repeated > MAX_REPEATED:
            raise ValueError(f"aliases repeat more than {MAX_REPEATED} values: write the values out")
        return value


# Where kubectl (k8s.io/apimachinery/pkg/util/yaml, YAMLReader) and a YAML reader end a line or a document differently.
_BREAKS = (
    (
        re.compile(r"\r(?!\n)|[\x85\u2028\u2029]"),
        "a line break that is not LF or CR LF: some readers end the line here",
    ),
    (
        re.compile(r"[^\t\n\r -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"),
        "an invisible character: remove it",
    ),
    (re.compile(r"^---(?!(?:[ \t]+#.*|[ \t]*)\r?$)", re.M), "--- begins a document only on a line of its own"),
    (re.compile(r"^(?:\.\.\.(?=[ \t\r]|$)|%)", re.M), "document ends and directives are not read alike: use --- alone"),
)


def _yaml(path: Path, text: str) -> Iterator[tuple[Any, int]]:
    for pattern, why in _BREAKS:
        if found := pattern.search(text):
            raise UnreadableError(str(path), text.count("\n", 0, found.start()) + 1, f"{why}")
    documents = _Documents(text)
    try:
        yield from documents
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableError(str(path), mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UnreadableError(str(path), documents.line or 1, f"{error}") from None


def _json(path: Path, text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key is given twice")
        return found

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    try:
        body = json.loads(
            text, object_pairs_hook=unique, parse_constant=refuse, parse_int=_whole, parse_float=_fraction
        )
        _bounded(body)
    except json.JSONDecodeError as error:
        raise UnreadableError(str(path), error.lineno, f"not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        for _ in _yaml(path, text):  # which reads JSON too, refuses the same, and knows the line
            pass
        raise UnreadableError(str(path), 1, f"{error}") from None
    return body


def _bounded(body: Any) -> None:
    level = [body]
    for _ in range(MAX_DEPTH + 1):
        for item in level:
            for text in item if isinstance(item, dict) else (item,):
                if isinstance(text, str):
                    _text(text)
        level = [
            value
            for item in level
            if isinstance(item, (dict, list))
            for value in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels: no Kubernetes object is")


def _documents(path: Path) -> Iterator[tuple[Any, int]]:
    try:
        raw = path.read_bytes()
        text = raw.decode()
    except OSError as error:
        raise UnreadableError(str(path), None, error.strerror or "cannot be read") from None
    except UnicodeDecodeError as error:
        raise UnreadableError(str(path), raw.count(b"\n", 0, error.start) + 1, "not UTF-8 text") from None
    text = text.removeprefix("\ufeff")
    if path.suffix == ".json":
        yield _json(path, text), 1
    else:
        yield from _yaml(path, text)


def _files(paths: Iterable[str | Path]) -> Iterator[Path]:
    for given in map(Path, paths):
        if given.is_dir():
            found = sorted(p for p in given.rglob("*") if p.suffix in (".yaml", ".yml", ".json") and p.is_file())
            if not found:
                raise UnreadableError(str(given), None, "no .yaml, .yml or .json file in this folder")
            yield from found
        elif given.is_file():
            yield given
        else:
            raise UnreadableError(str(given), None, "no such file or folder")


def read(paths: Sequence[str | Path], *, empty: bool = False) -> tuple[Object, ...]:
    """Read manifests: files or folders; YAML (also of several documents), JSON, and lists of either.

    Args:
        paths: files and folders.
        empty: whether they may hold no object at all, as a stack that is new has none before.

    Raises:
        UnreadableError: for a file that is missing or is not Kubernetes manifests, with its line.
    """
    objects: list[Object] = []
    for path in _files(paths):
        for body, line in _documents(path):
            if body is None:
                continue
            try:
                objects.extend(expand(body, f"{path}:{line}"))
            except ValueError as error:
                raise UnreadableError(str(path), line, str(error)) from None
    if not objects and not empty:
        where = ", ".join(map(str, paths))
        raise UnreadableError(where, None, f"no Kubernetes object in {where}: nothing to judge; give its manifests")
    return tuple(objects)
