"""Seeded mutants of both stack files: each is refused in words, or every reader gets the same testbed from it."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import stackfile
from testbed.errors import SpecError
from testbed.spec import Testbed
from tests.components.rendering import ROOT, render

SEED = 20_260_312
TEXTS = 1000  # mutants of each file's text, beside those of each of its values
RENDERED = 5  # testbeds rendered of each file, of those that differ
SCALARS = [
    *("true", "no", "~", "''", "' '", "0", "-1", "1", "0.5", "1e-5", "1.0e-6", "1:30", "0644", "0x10", "1_000", ".inf"),
    *(
        "2001-01-01",
        "12345678901",
        "1.5",
        "'4'",
        '"\\u0661"',
        "'0.7 '",
        "[]",
        "{}",
        "[[]]",
        "{secure: x}",
        "{a: {b: {c: 1}}}",
    ),
    *(
        "127.0.0.0/8",
        "10.0.0.0/30",
        "0.0.0.0/0",
        "/proc/self",
        "/data/../x",
        "a b",
        "none",
        "client",
        "'{\"budget\": 9}'",
    ),
    *(
        "node",
        "domain",
        "zcdp",
        "private",
        "C1",
        "E4",
        "*x",
        "&x 1",
        "!!str 1",
        '"\\ud800"',
        '"\\x07"',
        "1" * 400,
        "[" * 60,
    ),
]
KEYS = ["", "kubeflowr:", "kubernetes:", "kubeflower:config:", "epsilon", "name", "release", "num_clients", "'", "1"]
CHARACTERS = " \t\n:-#,&*!|>'\"%@`{}[]?0123456789.yeNE~<=/\\\r\x00\x85\u2028\ufeff\u0661é"


def texts(text: str, draw: random.Random) -> str:
    """Change one to three places of a text."""
    for _ in range(draw.randint(1, 3)):
        lines = text.splitlines(keepends=True)
        at, line = draw.randrange(len(text)), draw.randrange(len(lines))
        value = draw.choice([found.span() for found in re.finditer(r"(?<=: )[^\s,{}\[\]]+", text)] or [(at, at)])
        key = draw.choice(
            [found.span() for found in re.finditer(r"kubeflower:|(?<=[ {])[a-z_]+(?=:)", text)] or [(at, at)]
        )
        match draw.randrange(9):
            case 0:
                text = text[:at] + text[at + draw.randint(1, 4) :]
            case 1:
                text = text[:at] + draw.choice(CHARACTERS) + text[at:]
            case 2:
                text = "".join([*lines[:line], lines[line], *lines[line:]])
            case 3:
                text = "".join([*lines[:line], *lines[line + 1 :]])
            case 4:
                text = "".join([*lines[:line], " " * draw.randrange(5) + lines[line].lstrip(" "), *lines[line + 1 :]])
            case 5:
                text = text[: key[0]] + draw.choice(KEYS) + text[key[1] :]
            case _:
                text = text[: value[0]] + draw.choice(SCALARS) + text[value[1] :]
    return text


def values(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every value."""
    if path:
        yield path
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield from values(content[key], (*path, key))


def replaced(content: Any, path: tuple[str | int, ...], scalar: str | None) -> str:
    """The file with another value at a place, or without it; JSON is YAML, with the value put in as it is written."""
    content = json.loads(json.dumps(content))
    *parents, last = path
    target = content
    for part in parents:
        target = target[part]
    if scalar is None:
        del target[last]
        return json.dumps(content)
    target[last] = "@value@"
    return json.dumps(content, ensure_ascii=False).replace('"@value@"', scalar)


def refusal(error: SpecError) -> None:
    """Key or line, value and what is allowed, in printable words."""
    assert error.problems
    for problem in error.problems:
        assert re.match(r"kubeflower:|.*Pulumi\.lab\.yaml(:\d+)?", problem.key), problem
        assert problem.advice, problem
        assert str(problem).isprintable(), problem
        assert problem.value or ".yaml" in problem.key, problem


def elsewhere(text: str) -> Testbed:
    """The testbed as a YAML 1.1 reader gets it, by way of the JSON that Pulumi stores."""
    config = yaml.load(text, yaml.CSafeLoader)["config"]
    stored = {k if ":" in k else f"kubeflower:{k}": v for k, v in config.items()}
    return stackfile.build(
        "lab", {k: v if isinstance(v, str) else json.dumps(v, sort_keys=True) for k, v in stored.items()}
    )


@pytest.mark.parametrize("stack", ["lab", "cloud-edge"])
def test_a_mutant_is_refused_in_words_or_the_same_to_every_reader(
    stack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(f"{SEED} {stack}")
    original = (ROOT / f"Pulumi.{stack}.yaml").read_text()
    content = yaml.safe_load(original)
    mutants = [texts(original, draw) for _ in range(TEXTS)]
    for path in values(content):
        mutants += [replaced(content, path, scalar) for scalar in [None, *draw.sample(SCALARS, 12)]]
    file = tmp_path / "Pulumi.lab.yaml"
    built: dict[str, tuple[Testbed, str]] = {}
    refused = 0
    for mutant in mutants:
        file.write_bytes(mutant.encode(errors="surrogatepass"))
        try:
            spec = stackfile.read("lab", tmp_path)
        except SpecError as error:
            refusal(error)
            refused += 1
        else:
            assert elsewhere(mutant) == spec
            built[spec.model_dump_json()] = spec, mutant
    for _, (spec, mutant) in draw.sample(sorted(built.items()), min(RENDERED, len(built))):
        assert render(spec) == render(elsewhere(mutant))
    same, rendered = len(mutants) - refused, min(RENDERED, len(built))
    with capsys.disabled():
        sys.stdout.write(
            f"\n{stack}: {len(mutants)} mutants with seed {SEED}: {refused} refused, {same} the same to both readers, "
            f"{len(built)} testbeds among them, {rendered} rendered from both\n"
        )
    assert refused > len(mutants) // 4
    assert len(built) > RENDERED
