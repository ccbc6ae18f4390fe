"""The rules of a testbed, free of Pulumi: objects in, violations out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from testbed.rules import cross_client, fail_closed, hardened_pods, p3vc_only, privacy_budget
from testbed.rules.context import Context
from testbed.rules.violation import Violation

RULES: Mapping[str, Callable[[Context], list[Violation]]] = {
    privacy_budget.NAME: privacy_budget.check,
    cross_client.NAME: cross_client.check,
    p3vc_only.NAME: p3vc_only.check,
    hardened_pods.NAME: hardened_pods.check,
    fail_closed.NAME: fail_closed.check,
}


def judge_one(rule: str, context: Context) -> list[Violation]:
    """Apply one rule; a rule that breaks refuses."""
    try:
        return RULES[rule](context)
    except Exception as error:  # noqa: BLE001 - a bug in a rule must refuse, whatever it is
        return [fail_closed.failed(rule, error)]


def judge(context: Context) -> list[Violation]:
    """Apply every rule."""
    return [found for rule in RULES for found in judge_one(rule, context)]
