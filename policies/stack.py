"""One stack policy for each rule: thin, because the rules themselves know no Pulumi."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    ReportViolation,
    StackValidationArgs,
    StackValidationPolicy,
)

from policies.resources import Reader
from testbed.errors import SpecError
from testbed.report import text
from testbed.rules import fail_closed, judge_one
from testbed.rules.config import parse
from testbed.rules.context import Context
from testbed.rules.violation import Violation

READER = Reader()
LIMIT = 50  # violations of one rule shown in full


def judge(rule: str, args: StackValidationArgs) -> list[Violation]:
    """Apply one rule to a stack; whatever goes wrong refuses."""
    try:
        config = parse({rule: dict(args.get_config() or {})})
        return judge_one(rule, Context(READER.objects(args.resources), config))
    except SpecError as error:
        return [fail_closed.failed(rule, error)]
    except Exception as error:  # noqa: BLE001 - an exception here would become an advisory, or nothing
        return [fail_closed.failed(rule, error)]


def policy(rule: str, description: str, properties: Mapping[str, Any] | None = None) -> StackValidationPolicy:
    """A mandatory stack policy that applies ``rule``.

    Args:
        rule: its name.
        description: one sentence, shown with every violation.
        properties: JSON schema of its configuration's keys; none: it takes no configuration.
    """
    return StackValidationPolicy(
        name=rule,
        description=description,
        validate=_validate(rule),
        enforcement_level=EnforcementLevel.MANDATORY,
        config_schema=PolicyConfigSchema(properties=dict(properties)) if properties else None,
    )


def _validate(rule: str) -> Callable[[StackValidationArgs, ReportViolation], None]:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        found = judge(rule, args)
        for one in found[:LIMIT]:
            report(text.one(one), one.source if one.source.startswith("urn:") else None)
        if len(found) > LIMIT:
            report(f"{len(found) - LIMIT} more violations of {rule}", None)

    return validate
