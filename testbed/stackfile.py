"""A testbed's configuration as Pulumi keeps it: ``kubeflower:`` keys of a stack, in its file ``Pulumi.<stack>.yaml``.

Two programs read it: Pulumi's engine, and this module where no engine runs. What the engine might read otherwise is
refused here, and the program refuses a stack whose file reads otherwise than the engine did (``same``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.errors import Problem, SpecError
from testbed.spec import SECTIONS, Testbed, parse, plain
from testbed.strict import UnreadableError, configuration, line_of

PREFIX = "kubeflower:"
KEY_ROOT = "keyRoot"  # a secret of the stack, no part of the testbed's description
ENVIRONMENT = "KUBEFLOWER_STACK_FILE"  # names the stack's file where the engine was given another one
_OTHERS = ("kubernetes", "pulumi")  # namespaces of the provider and of the engine itself
_BESIDE = ("encryptedkey", "encryptionsalt", "secretsprovider")  # what Pulumi keeps beside `config:`


def build(name: str, config: Mapping[str, object]) -> Testbed:
    """Build a testbed from a stack's configuration.

    Raises:
        SpecError: with everything wrong in it.
    """
    _refuse(Problem(key, "", why) for key, why in _strange(config))
    return parse(name, _sections(config), PREFIX)


def read(name: str, folder: Path) -> Testbed:
    """Build the testbed of ``Pulumi.<name>.yaml`` in ``folder``.

    Raises:
        SpecError: when the file is not there, is no stack file, or cannot be built.
    """
    return build(name, load(where(name, folder)))


def where(name: str, folder: Path) -> Path:
    """The file of a stack."""
    return folder / f"Pulumi.{name}.yaml"


def load(path: Path) -> dict[str, Any]:
    """Read the ``config:`` of a stack file.

    Raises:
        SpecError: when the file is not there, or the engine might read it otherwise: with file and line.
    """
    if not path.is_file():
        stacks = ", ".join(sorted(p.name.split(".")[1] for p in path.parent.glob("Pulumi.*.yaml"))) or "none"
        raise SpecError([Problem(str(path), "no such file", f"stacks here: {stacks}")])
    try:
        content = configuration(path)
    except UnreadableError as error:
        raise SpecError([Problem(error.where, "", error.why)]) from None
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise SpecError([Problem(str(path), "no `config:`", f"give the {PREFIX} keys under it")])
    unknown = [key for key in content if key not in ("config", *_BESIDE)]
    strange: list[tuple[tuple[str, ...], str]] = [((key,), _why(key)) for key in unknown]
    strange += [(("config", key), why) for key, why in _strange(config)]
    _refuse(Problem(f"{path}:{line_of(path, *keys)}: {keys[-1]}", "", why) for keys, why in strange)
    return config


def same(seen: Mapping[str, object], path: Path) -> None:
    """Refuse what the engine saw where the stack's file reads otherwise.

    Raises:
        SpecError: with every section that differs; without its values, which may be secret.
    """
    file, engine = _sections(load(path)), _sections(seen)
    _refuse(
        Problem(
            PREFIX + name,
            "",
            f"the engine was given something else than {path} says: set it there alone, or name the file that the "
            f"engine reads in {ENVIRONMENT}",
        )
        for name in sorted({*file, *engine})
        if _canonical(file, name) != _canonical(engine, name)
    )


def _sections(config: Mapping[str, object]) -> dict[str, object]:
    found = {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}
    found.pop(KEY_ROOT, None)
    return found


def _canonical(sections: Mapping[str, object], name: str) -> str:
    """One text for everything that is read alike; JSON has no missing value, so an absent section is no text of it."""
    return json.dumps(plain(sections[name]), sort_keys=True) if name in sections else ""


def _strange(config: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Keys that the engine and its program might take for different ones, and secrets that only the engine can read."""
    known = (PREFIX.rstrip(":"), *_OTHERS)
    for key, value in config.items():
        namespace, colon, name = key.partition(":")
        ours = namespace == known[0] and ":" not in name  # the engine takes kubeflower:config:x for kubeflower:x
        if not colon:
            yield key, f"has no namespace, which the engine adds and others do not: write {PREFIX}{key}"
        elif not ours and (namespace not in _OTHERS or name in SECTIONS):
            yield key, f"is no key of {', '.join(known[:-1])} or {known[-1]}: write {PREFIX}{name.rpartition(':')[2]}"
        elif ours and value is None:
            yield key, "has no value, which readers take for different things: give one, or leave the key out"
        elif ours and name != KEY_ROOT and _secret(value):
            yield key, f"is secret, and only {PREFIX}{KEY_ROOT} may be: write it in plain text"


def _secret(value: object) -> bool:
    if isinstance(value, dict):
        return "secure" in value or any(map(_secret, value.values()))
    return isinstance(value, list) and any(map(_secret, value))


def _why(key: str) -> str:
    if key == "environment":
        return "adds configuration from elsewhere, which only the engine sees: write it under `config:`"
    return f"unknown key, allowed here: {', '.join(('config', *_BESIDE))}"


def _refuse(problems: Iterable[Problem]) -> None:
    if found := list(problems):
        raise SpecError(found)
