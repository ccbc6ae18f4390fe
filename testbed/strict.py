"""YAML and JSON, refused with their line where two readers might read them differently.

Manifests are read as ``kubectl`` reads them. Configuration has many readers (Pulumi's engine, this project, a person's
own scripts), so an unquoted scalar counts only where YAML 1.1, YAML 1.2 and JSON agree on what it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

Scalar = bool | int | float | str | None


class UnreadableError(ValueError):
    """A file that cannot be read; the message starts with ``file:line``."""

    def __init__(self, path: str, line: int | None, why: str) -> None:
        self.path, self.line, self.why = path, line, why
        self.where = f"{path}:{line}" if line else path
        super().__init__(f"{self.where}: {why}")


@dataclass(frozen=True)
class Dialect:
    """How one kind of file is read.

    Attributes:
        plain: what an unquoted scalar is; raises ValueError for one that readers take for different things.
        fraction: what a JSON number with a fraction or an exponent is; raises ValueError likewise.
        depth: levels of nesting allowed.
    """

    plain: Callable[[str], Scalar]
    fraction: Callable[[str], int | float]
    depth: int


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
_MERGE = "merge key <<: readers differ on what wins; write the values out"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, of which go-yaml is a port, where PyYAML has it
MAX_REPEATED = 100_000  # values that aliases may repeat


def _whole(text: str, base: int = 10) -> int:
    value = int(text, base) if len(text) < 30 else 1 << 64
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{text[:20]} is beyond 64 bits: quote it if it is text")
    return value


def _fraction(text: str) -> int | float:
    """A number with a fraction, an integer where the fraction is none: JSON, as Go writes it, has no other form."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number: quote it if it is text")
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


def _exact(text: str) -> int | float:
    """A number that is read as it is written: no reader has more than a double to keep a fraction in."""
    value = _fraction(text)
    if Decimal(repr(value)) != Decimal(text):
        raise ValueError(f"{text[:20]} has more digits than readers keep: quote it, or write fewer")
    return value


def _kubectl(text: str) -> Scalar:
    """What kubectl makes of an unquoted scalar; dates and base-60 numbers are text."""
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
        raise ValueError(_MERGE)
    if _TWOFOLD.fullmatch(text) or (text[0] in "+-.0123456789" and _NUMBER.fullmatch(text.replace("_", ""))):
        raise ValueError(f"{text[:20]} is text to some readers only: quote it, or write true, false or a plain number")
    return text


# What every reader of YAML 1.1 and 1.2 takes for the same.
_SAME: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}
_SAME_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_SAME_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+][0-9]+)?")
# What one of them takes for a boolean or a null (https://yaml.org/type/), a number of any base, or a time.
_DIFFERENT = re.compile(r"(?i:y|n|yes|no|on|off|true|false|null)|=|[-+.0-9][-+.:_0-9A-Za-z]*|[0-9]{4}-[0-9]{1,2}-.*")


def common(text: str) -> Scalar:
    """What every reader makes of an unquoted scalar.

    Raises:
        ValueError: for one that readers take for different things.
    """
    if text in _SAME:
        return _SAME[text]
    if _SAME_INTEGER.fullmatch(text):
        return _whole(text)
    if _SAME_FRACTION.fullmatch(text):
        return _exact(text)
    if text == "<<":
        raise ValueError(_MERGE)
    if _DIFFERENT.fullmatch(text):
        raise ValueError(
            f"{text[:20]} is not the same to all readers: quote it if it is text, else write true, false, or a number "
            "such as 30, 0.7 or 1.0e-6"
        )
    return text


KUBECTL = Dialect(_kubectl, _fraction, 100)  # the deepest Kubernetes kinds, JSON schemas of pods, have about 40 levels
CONFIGURATION = Dialect(common, _exact, 20)


def _text(value: str) -> str:
    if not value.isascii() and _SURROGATE.search(value):
        raise ValueError("half of a character (a lone surrogate): write the whole character")
    return value


class _Documents:
    """The documents of a YAML text, built from the parser's events.

    What readers might read otherwise is refused: tags, merge keys, keys that are not text or are given twice, scalars
    that are text to some readers only. Aliases are values like any other, but bounded.
    """

    def __init__(self, text: str, dialect: Dialect) -> None:
        self.events: Iterator[Any] = yaml.parse(text, _LOADER)
        self.dialect, self.plain = dialect, dialect.plain
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
            value = _text(event.value) if event.style else self.plain(event.value)
        elif depth == self.dialect.depth:
            raise ValueError(_too_deep(depth))
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


def _yaml(path: Path, text: str, dialect: Dialect) -> Iterator[tuple[Any, int]]:
    for pattern, why in _BREAKS:
        if found := pattern.search(text):
            raise UnreadableError(str(path), text.count("\n", 0, found.start()) + 1, f"{why}")
    documents = _Documents(text, dialect)
    try:
        yield from documents
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableError(str(path), mark.line + 1 if mark else 1, f"not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UnreadableError(str(path), documents.line or 1, f"{error}") from None


def parse_json(text: str, dialect: Dialect = CONFIGURATION) -> Any:
    """Read a JSON text.

    Raises:
        json.JSONDecodeError: for what is no JSON.
        ValueError: for what readers might read otherwise: keys given twice, numbers beyond what readers keep, values
            nested too deeply.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key is given twice")
        return found

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    try:
        body = json.loads(
            text, object_pairs_hook=unique, parse_constant=refuse, parse_int=_whole, parse_float=dialect.fraction
        )
    except RecursionError:
        raise ValueError(_too_deep(dialect.depth)) from None
    _bounded(body, dialect.depth)
    return body


def _json(path: Path, text: str, dialect: Dialect) -> Any:
    try:
        return parse_json(text, dialect)
    except json.JSONDecodeError as error:
        raise UnreadableError(str(path), error.lineno, f"not JSON: {error.msg}") from None
    except ValueError as error:
        for _ in _yaml(path, text, dialect):  # which reads JSON too, refuses the same, and knows the line
            pass
        raise UnreadableError(str(path), 1, f"{error}") from None


def _bounded(body: Any, depth: int) -> None:
    level = [body]
    for _ in range(depth + 1):
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
    raise ValueError(_too_deep(depth))


def _too_deep(depth: int) -> str:
    return f"nested deeper than {depth} levels, which nothing here needs"


def documents(path: Path, dialect: Dialect) -> Iterator[tuple[Any, int]]:
    """Read every document of a YAML file, or the one of a ``.json`` file, with its first line.

    Raises:
        UnreadableError: for a file that is missing or that readers might read differently, with its line.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode()
    except OSError as error:
        raise UnreadableError(str(path), None, error.strerror or "cannot be read") from None
    except UnicodeDecodeError as error:
        raise UnreadableError(str(path), raw.count(b"\n", 0, error.start) + 1, "not UTF-8 text") from None
    text = text.removeprefix("\ufeff")
    if path.suffix == ".json":
        yield _json(path, text, dialect), 1
    else:
        yield from _yaml(path, text, dialect)


def configuration(path: Path) -> Any:
    """Read a configuration file, which is one document; None where it holds nothing.

    Raises:
        UnreadableError: as ``documents``, and for a second document, which some readers leave out.
    """
    found = None
    for number, (body, line) in enumerate(documents(path, CONFIGURATION)):
        if number:
            raise UnreadableError(str(path), line, "a second document: some readers leave it out; write one")
        found = body
    return found


def line_of(path: Path, *keys: str) -> int:
    """The line of a nested key in a YAML file that ``configuration`` reads."""
    node: Any = yaml.compose(path.read_text(encoding="utf-8-sig"), _LOADER)
    line = 1
    for wanted in keys:
        key, node = next((k, v) for k, v in node.value if k.value == wanted)
        line = key.start_mark.line + 1
    return line
