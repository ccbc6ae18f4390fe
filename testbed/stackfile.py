"""A testbed's configuration as Pulumi keeps it: ``kubeflower:`` keys of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from testbed.errors import Problem, SpecError
from testbed.spec import Testbed, parse

PREFIX = "kubeflower:"
KEY_ROOT = "keyRoot"  # a secret of the stack, no part of the testbed's description


def build(name: str, config: Mapping[str, object]) -> Testbed:
    """Build a testbed from a stack's configuration; keys of other namespaces are not ours to judge.

    Raises:
        SpecError: with everything wrong in it.
    """
    sections = {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}
    sections.pop(KEY_ROOT, None)
    return parse(name, sections, PREFIX)


def read(name: str, folder: Path) -> Testbed:
    """Build the testbed of ``Pulumi.<name>.yaml`` in ``folder``.

    Raises:
        SpecError: when the file is not there, is no stack file, or cannot be built.
    """
    path = folder / f"Pulumi.{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        stacks = ", ".join(sorted(p.name.split(".")[1] for p in folder.glob("Pulumi.*.yaml"))) or "none"
        raise SpecError([Problem(str(path), "no such file", f"stacks here: {stacks}")]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError([Problem(str(path), "not YAML", str(error))]) from None
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise SpecError([Problem(str(path), "no `config:`", f"give the {PREFIX} keys under it")])
    return build(name, config)
