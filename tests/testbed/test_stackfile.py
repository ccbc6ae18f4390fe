from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from testbed import stackfile
from testbed.errors import SpecError
from tests.components.rendering import ROOT, config


@pytest.mark.parametrize(("stack", "clients", "capacity"), [("lab", 3, 4), ("cloud-edge", 10, 12)])
def test_the_stack_files_build(stack: str, clients: int, capacity: int) -> None:
    from testbed import placement

    spec = stackfile.read(stack, ROOT)
    assert (spec.name, len(placement.clients(spec)), spec.capacity) == (stack, clients, capacity)


def test_the_root_secret_and_other_namespaces_are_no_part_of_the_testbed() -> None:
    plain = stackfile.build("lab", config("lab"))
    secret = {"secure": "v1:x"}
    assert stackfile.build("lab", config("lab") | {"kubeflower:keyRoot": secret, "kubernetes:context": "c"}) == plain


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file — stacks here: other"),
        ("a: [", "not YAML"),
        ("encryptionsalt: x", "no `config:`"),
        ("config: []", "no `config:`"),
        ("", "no `config:`"),
        ("[]", "no `config:`"),
    ],
)
def test_a_stack_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, says: str) -> None:
    (tmp_path / "Pulumi.other.yaml").write_text("config: {}")
    if content is not None:
        (tmp_path / "Pulumi.lab.yaml").write_text(content)
    with pytest.raises(SpecError, match=r"Pulumi\.lab\.yaml") as caught:
        stackfile.read("lab", tmp_path)
    assert says in str(caught.value)


# Added to the lab's file: each is something else to the engine than to a reader of YAML, or may be.
ODD = {
    "no namespace": ("  privacy: {epsilon: 0.1}\n", "privacy: has no namespace.*write kubeflower:privacy"),
    "misspelt namespace": ("  kubeflowr:storage: {raw: 1}\n", "kubeflowr:storage: .*write kubeflower:storage"),
    "another case": ("  Kubeflower:storage: {raw: 1}\n", "Kubeflower:storage: .*write kubeflower:storage"),
    "the provider's namespace": ("  kubernetes:storage: {raw: 1}\n", "kubernetes:storage: .*write kubeflower:storage"),
    "old form of a key": (
        "  kubeflower:config:storage: {raw: 1}\n",
        "kubeflower:config:storage: .*write kubeflower:storage",
    ),
    "space before the namespace": ("  ' kubeflower:storage': {raw: 1}\n", "storage: .*write kubeflower:storage"),
    "misspelt section": ("  kubeflower:storag: {raw: 1}\n", "kubeflower:storag: unknown key"),
    "the testbed's name": ("  kubeflower:name: other\n", "kubeflower:name: unknown key"),
    "a key twice": ("  kubeflower:capacity: 5\n", "key 'kubeflower:capacity' is given twice"),
    "a secret": ("  kubeflower:storage: {raw: {secure: v1:x}}\n", "kubeflower:storage: is secret"),
    "an environment": ("environment: [team/prod]\n", "environment: adds configuration from elsewhere"),
    "a misspelt part": ("confg: {}\n", "confg: unknown key, allowed here: config, encryptedkey"),
    "a second document": ("---\nconfig: {}\n", "a second document"),
    "base 60": ("  kubeflower:storage: {raw: 1:30}\n", "1:30 is not the same to all readers"),
    "nothing": ("  kubeflower:storage:\n", "kubeflower:storage: has no value"),
    "deep nesting": (f"  kubeflower:storage: {'[' * 99}{']' * 99}\n", "nested deeper"),
}


def lab(tmp_path: Path, added: str) -> int:
    """Write the lab's file with a line more under ``config:``, or at the top; return that line's number."""
    lines = (ROOT / "Pulumi.lab.yaml").read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith("config:")) + 1 if added[0] == " " else len(lines)
    (tmp_path / "Pulumi.lab.yaml").write_text("".join([*lines[:at], added, *lines[at:]]))
    return at + 1


@pytest.mark.parametrize("case", ODD.values(), ids=ODD)
def test_what_the_engine_might_read_otherwise_is_refused(case: tuple[str, str], tmp_path: Path) -> None:
    added, says = case
    line = lab(tmp_path, added)
    with pytest.raises(SpecError, match=says) as caught:
        stackfile.read("lab", tmp_path)
    if "Pulumi.lab.yaml" in str(caught.value) and "twice" not in says:
        assert f"Pulumi.lab.yaml:{line}: " in str(caught.value) or f":{line + 1}: a second" in str(caught.value)


def stored(values: dict[str, Any]) -> dict[str, str]:
    """Configuration as the engine hands it on: text, and JSON of everything else with sorted keys."""
    return {k: v if isinstance(v, str) else json.dumps(v, sort_keys=True) for k, v in values.items()}


def test_the_engine_and_the_file_agree_on_the_projects_own_files() -> None:
    for stack in ("lab", "cloud-edge"):
        stackfile.same({**stored(config(stack)), "kubeflower:keyRoot": "0" * 64}, ROOT / f"Pulumi.{stack}.yaml")


@pytest.mark.parametrize(
    ("changes", "section"),
    [
        ({"privacy__epsilon": 0.1}, "privacy"),
        ({"privacy__epsilon": "0.7"}, "privacy"),
        ({"dataset__download": 0}, "dataset"),
        ({"storage__raw": 2}, "storage"),
        ({"capacity": "5"}, "capacity"),
        ({"servr": "x"}, "servr"),
    ],
)
def test_what_the_engine_was_given_beside_the_file_is_refused(changes: dict[str, Any], section: str) -> None:
    with pytest.raises(SpecError, match=f"^kubeflower:{section}: the engine was given something else") as caught:
        stackfile.same(stored(config("lab", **changes)), ROOT / "Pulumi.lab.yaml")
    assert len(caught.value.problems) == 1
    assert "0.1" not in str(caught.value)


def test_a_section_that_only_the_file_has_is_refused() -> None:
    seen = stored(config("lab"))
    del seen["kubeflower:privacy"]
    with pytest.raises(SpecError, match="kubeflower:privacy: the engine was given something else"):
        stackfile.same(seen, ROOT / "Pulumi.lab.yaml")


def test_a_bare_key_is_refused_by_the_program_whose_engine_gave_it_a_namespace(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Pulumi.lab.yaml", tmp_path)
    lab(tmp_path, "  storage: {raw: 1}\n")
    with pytest.raises(SpecError, match="storage: has no namespace"):
        stackfile.same(stored(config("lab", storage__raw=1)), tmp_path / "Pulumi.lab.yaml")


def test_a_namespace_that_nobody_reads_is_refused_by_the_program_too() -> None:
    with pytest.raises(SpecError, match="kubeflowr:privacy: is no key of kubeflower, kubernetes or pulumi"):
        stackfile.build("lab", {**stored(config("lab")), "kubeflowr:privacy": "{}"})
