"""What ``kubectl`` would read otherwise is refused, with its line; what is left reads as ``kubectl`` reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from testbed.cli import main
from testbed.reader import read
from testbed.strict import UnreadableError

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
LAUGHS = "x0: &l0 [a, a, a, a, a, a, a, a, a, a]\n" + "".join(
    f"x{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
DEEP = "[" * 200 + "]" * 200

REFUSED = {
    "merge key after the key it changes": ("spec:\n  private: true\n  <<: {private: false}\n", 6, "merge key <<"),
    "merge key of nothing": ("data: {<<: 3}\n", 4, "merge key <<"),
    "tagged merge key": ("data:\n  !!merge x: {a: b}\n", 5, "tag"),
    "binary key": ("spec:\n  !!binary aG9zdE5ldHdvcms=: true\n", 5, "tag"),
    "tagged value": ("x: !!bool foo\n", 4, "tag"),
    "harmless tag": ("x: !!str 5\n", 4, "tag"),
    "non-specific tag": ("x: ! 5\n", 4, "tag"),
    "own tag": ("x: !foo {a: b}\n", 4, "tag '!foo'"),
    "set": ("x: !!set {a, b}\n", 4, "tag"),
    "hidden document": ("---#x:\n  a: b\n", 4, "--- begins a document"),
    "document on its line": ("--- {a: b}\n", 4, "--- begins a document"),
    "document after an end": ("...\n" + HEAD, 4, "document ends"),
    "directive": ("---\n%TAG !e! tag:x,2002:\n---\na: b\n", 5, "directives"),
    "bare CR": ("x: b # c\rkind: Pod\n", 4, "line break"),
    "NEL": ("x: b # c\x85kind: Pod\n", 4, "line break"),
    "line separator": ("x: b # c\u2028kind: Pod\n", 4, "line break"),
    "paragraph separator": ("x: 'b\u2029'\n", 4, "line break"),
    "byte order mark within": ("---\n\ufeffkind: Pod\n", 5, "invisible"),
    "NUL": ("x: a\0\n", 4, "invisible"),
    "list as key": ("? [a]\n: b\n", 4, "not text"),
    "number as key": ("data:\n  1: b\n", 5, "key 1 is not text"),
    "boolean as key": ("data:\n  on: b\n", 5, "key True is not text"),
    "null as key": ("data:\n  ~: b\n", 5, "key None is not text"),
    "key twice": ("data:\n  a: b\n  'a': c\n", 6, "key 'a' is given twice"),
    "alias of itself": ("data: &d {a: *d}\n", 4, "alias *d"),
    "alias of nothing": ("data: {a: *d}\n", 4, "*d"),
    "billion laughs": (LAUGHS, 8, "aliases repeat more than"),
    "nested deeply": (f"x:\n  {DEEP}\n", 5, "nested deeper"),
    "lone surrogate": ('x: "\\ud800"\n', 4, ""),
    **{
        f"scalar {text[:12]}": (f"x:\n  - {text}\n", 5, text[:12])
        for text in (
            *("y", "N", "0b1", "-0b1", "0o17", "1_000", "0x_f", "08", "0_0", "12e3", "1e2", ".inf", "-.INF", ".nan"),
            *("0X1F", "+1_0.5", "9" * 30, "9" * 5000, "9223372036854775808", "1.5e400"),
        )
    },
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_readers_read_otherwise_is_refused_with_its_line(
    case: tuple[str, int, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, line, says = case
    path = tmp_path / "a.yaml"
    path.write_bytes((HEAD + text).encode())
    assert main(["check", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"testbed: {path}:{line}: ")
    assert says in error
    assert error.count("\n") == 1


JSON_REFUSED = {
    "key twice": ('{\n"a": 1,\n"a": 2}', 3, "given twice"),
    "NaN": ('{"a": NaN}', 1, "NaN"),
    "infinity": ('{"a": -Infinity}', 1, "Infinity"),
    "too large": ('{\n"a": 9223372036854775808}', 2, "beyond 64 bits"),
    "nested deeply": (f'{{\n\n"a": {DEEP}}}', 3, "nested deeper"),
    "nested beyond the parser": ("[" * 100_000 + "]" * 100_000, 1, "nested deeper"),
    "lone surrogate": ('{\n"a": "\\ud800"}', 2, ""),
    "lone surrogate as key": ('{\n"\\ud800": 1}', 2, ""),
    "two objects": ("{}\n{}", 2, "not JSON"),
    "not UTF-8": (b'{\n"\xff": 1}', 2, "not UTF-8"),
}


@pytest.mark.parametrize("case", JSON_REFUSED.values(), ids=JSON_REFUSED)
def test_json_is_read_as_strictly(
    case: tuple[str | bytes, int, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, line, says = case
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["check", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"testbed: {path}:{line}: ")
    assert says in error


def body(path: Path, text: str) -> Any:
    path.write_bytes(text.encode())
    (found,) = read([path])
    return found.body


# go-yaml v2, resolve.go; sigs.k8s.io/yaml then writes JSON, which knows no integral fraction.
SCALARS = {
    "yes": True, "On": True, "TRUE": True, "off": False, "No": False, "false": False, "~": None, "Null": None, "": None,
    "0": 0, "-12": -12, "+1": 1, "0644": 0o644, "0x1f": 31, "-0x1F": -31, "1.5": 1.5, ".5": 0.5, "1.": 1,
    "1500.0": 1500, "1.5e3": 1500, "-1.25e-2": -0.0125, "1:30": "1:30", "190:20:30": "190:20:30",
    "2001-01-01": "2001-01-01",
    "2001-01-01T00:00:00Z": "2001-01-01T00:00:00Z", "1.2.3": "1.2.3", "10.0.0.1": "10.0.0.1", "_1": "_1", "nO": "nO",
    "0x": "0x", "1e": "1e", "+": "+", ".": ".", "=": "=", "'y'": "y", '"1"': "1", "yep": "yep",
}  # fmt: skip


def test_scalars_are_what_kubectl_makes_of_them(tmp_path: Path) -> None:
    text = HEAD + "x:\n" + "".join(f"  - {scalar}\n" for scalar in SCALARS)
    found = body(tmp_path / "a.yaml", text)["x"]
    assert [(v, type(v)) for v in found] == [(v, type(v)) for v in SCALARS.values()]


def test_documents_comments_aliases_and_line_ends_that_all_readers_know(tmp_path: Path) -> None:
    one = "\ufeff# first\r\n---\r\n" + HEAD.replace("\n", "\r\n") + "x: &a [1, {b: é}]\r\ny1: *a\r\n--- # second\r\n"
    (tmp_path / "a.yaml").write_bytes((one + "---  \n" + HEAD + "x: |\n  ---\n  ...\n  %x\n").encode())
    first, second = read([tmp_path / "a.yaml"])
    assert first.body["x"] == first.body["y1"] == [1, {"b": "é"}]
    assert second.body["x"] == "---\n...\n%x\n"
    assert second.source.endswith(":10")


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


class Quoting(yaml.SafeDumper):
    """Quotes every text, and escapes what may not stand there raw."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@files
@given(value=VALUES)
def test_json_and_yaml_of_an_object_are_the_object(value: Any, tmp_path: Path) -> None:
    wanted = {**OBJECT, "data": value}
    assert body(tmp_path / "a.json", json.dumps(wanted)) == wanted
    assert body(tmp_path / "a.yaml", yaml.dump(wanted, Dumper=Quoting)) == wanted


@files
@given(
    text=st.text(alphabet="ab:-?[]{}&*!<|>'\"%#.,~ \n\r\t019_yx\\", max_size=40),
    suffix=st.sampled_from(["yaml", "json"]),
)
@example(text="&a [*a]", suffix="yaml")
@example(text="? &a\n: *a", suffix="yaml")
def test_any_text_is_read_or_refused_with_its_line(text: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(text.encode())
    try:
        read([path], empty=True)
    except UnreadableError as error:
        assert error.line


def test_manifests_without_any_object_are_no_testbed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("---\n# nothing\n")
    assert main(["check", str(path)]) == 2
    assert f"no Kubernetes object in {path}" in capsys.readouterr().err
    full = tmp_path / "b.yaml"
    full.write_text(HEAD)
    assert main(["diff", str(path), str(full)]) == 0  # a new stack has none before
    assert main(["diff", str(full), str(path)]) == 2
