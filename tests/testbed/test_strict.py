"""Configuration counts only where every reader of it agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.strict import UnreadableError, configuration

# What YAML 1.1 (PyYAML, go-yaml v2), YAML 1.2 (go-yaml v3, Pulumi's engine) and JSON agree on.
AGREED = {
    "true": True, "false": False, "null": None, "~": None, "": None, "0": 0, "-12": -12, "30": 30, "0.7": 0.7,
    "1.0": 1, "-1.5": -1.5, "1.0e-6": 1e-6, "1.5E+3": 1500, "text": "text", "10.64.0.0/16": "10.64.0.0/16",
    "e1": "e1", "a b": "a b", "'1:30'": "1:30", '"yes"': "yes", "IfNotPresent": "IfNotPresent",
    "smart-internet-lab": "smart-internet-lab", "3 hospitals": "3 hospitals", "0.7 of 1": "0.7 of 1",
}  # fmt: skip
DOUBTFUL = [
    *(
        "1:30",
        "190:20:30",
        "1:30.5",
        "2001-01-01",
        "2001-01-01 00:00:00",
        "2001-01-01T00:00:00Z",
        "0644",
        "0o17",
        "0x1F",
    ),
    *(
        "0b1",
        "1_000",
        "+1",
        "1e3",
        "1e-5",
        "1.5e3",
        "1.",
        ".5",
        ".inf",
        "-.INF",
        ".nan",
        "y",
        "N",
        "yes",
        "No",
        "ON",
        "off",
    ),
    *("True", "FALSE", "Null", "NULL", "nO", "<<", "=", "1a", "0.1.0", "10.0.0.1", "9223372036854775808", "9" * 5000),
    *("0.70000000000000000001", "1.0e-999", "1.0e+999", "!!str 5", "! 5", "*a", "&a 1e3"),
]


def read(tmp_path: Path, text: str, suffix: str = "yaml") -> Any:
    (path := tmp_path / f"a.{suffix}").write_bytes(text.encode())
    return configuration(path)


def test_what_all_readers_agree_on_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, "".join(f"- {scalar}\n" for scalar in AGREED))
    assert [(v, type(v)) for v in found] == [(v, type(v)) for v in AGREED.values()]


@pytest.mark.parametrize("scalar", DOUBTFUL, ids=lambda text: text[:20])
def test_what_readers_take_for_different_things_is_refused_with_its_line(scalar: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError) as caught:
        read(tmp_path, f"a: b\nc:\n  - {scalar}\n")
    assert caught.value.line == 3
    assert read(tmp_path, f"c: {json.dumps(scalar)}\n") == {"c": scalar}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\na: 2\n", 2, "given twice"),
        ("a: 1\n---\na: 2\n", 3, "a second document"),
        ("a: 1\n--- {}\n", 2, "--- begins"),
        (f"a:\n  {'[' * 30}{']' * 30}\n", 2, "nested deeper than 20"),
        ("a: {<<: {b: 1}}\n", 1, "merge key"),
        ("1: a\n", 1, "not text"),
        ("yes: a\n", 1, "not the same to all"),
        ("a: \tb: c\n", 1, "not YAML"),
    ],
)
def test_what_readers_may_leave_out_is_refused_with_its_line(text: str, line: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=says) as caught:
        read(tmp_path, text)
    assert caught.value.line == line


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"a": 0.70000000000000000001}', '{"a": NaN}', "[" * 30 + "]" * 30]
)
def test_json_is_as_strict(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError):
        read(tmp_path, text, "json")


def test_json_has_numbers_that_yaml_has_not(tmp_path: Path) -> None:
    assert read(tmp_path, '{"delta": 1e-5}', "json") == {"delta": 1e-5}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scalar=st.text(alphabet="yYnNoOefFalsTru01:.-+_xbE~=<eInfN", min_size=1, max_size=8))
def test_what_is_read_is_what_yaml_1_1_reads(scalar: str, tmp_path: Path) -> None:
    """PyYAML is a reader of its own making: where it reads otherwise, the scalar is refused."""
    try:
        (found,) = read(tmp_path, f"[{scalar}]")
    except UnreadableError:
        return
    (other,) = yaml.safe_load(f"[{scalar}]")
    assert json.dumps(found) == json.dumps(int(other) if isinstance(other, float) and other.is_integer() else other)
