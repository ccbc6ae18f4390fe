from __future__ import annotations

from pathlib import Path

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
        ("x: 1", "no `config:`"),
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
