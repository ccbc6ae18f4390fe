"""Rendered testbeds as the rules read them, and one-line mistakes on them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from testbed.manifests import Object, expand
from testbed.rules import judge
from testbed.rules.config import PolicyConfig, parse
from testbed.rules.context import Context
from testbed.rules.violation import Violation
from tests.components.rendering import render, spec

Body = dict[str, Any]


@cache
def _rendered(stack: str, changes: tuple[tuple[str, Any], ...]) -> tuple[Body, ...]:
    return tuple(render(spec(stack, **dict(changes))))


def bodies(stack: str = "lab", **changes: Any) -> list[Body]:
    """Fresh manifests of a stack."""
    return copy.deepcopy(list(_rendered(stack, tuple(sorted(changes.items())))))


def objects(manifests: Iterable[Body]) -> tuple[Object, ...]:
    return tuple(o for m in manifests for o in expand(m, f"{m['kind']}.yaml:1"))


def one(manifests: list[Body], kind: str, name: str, namespace: str | None = None) -> Body:
    """The only object of this kind whose name begins so."""
    found = [
        m
        for m in manifests
        if m["kind"] == kind
        and m["metadata"]["name"].startswith(name)
        and (namespace is None or m["metadata"].get("namespace") == namespace)
    ]
    assert len(found) == 1, (kind, name, namespace, [m["metadata"] for m in found])
    return found[0]


def template(workload: Body) -> Body:
    return workload["spec"]["template"]  # type: ignore[no-any-return]


def notes(workload: Body) -> Body:
    return template(workload)["metadata"]["annotations"]  # type: ignore[no-any-return]


def violations(manifests: Iterable[Body], config: Body | PolicyConfig | None = None) -> list[Violation]:
    settings = config if isinstance(config, PolicyConfig) else parse(config or {})
    return judge(Context(objects(manifests), settings))


def rules(manifests: Iterable[Body], config: Body | None = None) -> set[str]:
    return {v.rule for v in violations(manifests, config)}


Mistake = Callable[[list[Body]], object]
