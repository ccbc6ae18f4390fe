"""Violations for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from testbed.rules.violation import Violation


def one(violation: Violation) -> str:
    """A violation: where, what, the witness step by step, and the repair."""
    where = f"{violation.resource} {violation.field}".strip()
    lines = [f"{where}: {violation.message}"]
    lines += [f"    {line}" for line in violation.witness]
    if violation.repair:
        lines.append(f"  repair: {violation.repair}")
    return "\n".join(lines)


def every(violations: Iterable[Violation]) -> str:
    """All violations with their rule and place."""
    return "\n".join(
        f"[{v.rule}] {one(v)}\n  at: {v.source}" if v.source else f"[{v.rule}] {one(v)}" for v in violations
    )
