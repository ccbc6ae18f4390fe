"""Findings as SARIF 2.1.0, for code-scanning views."""

from __future__ import annotations

import json
import re
from typing import Any

from testbed.report.findings import Findings
from testbed.report.text import one
from testbed.rules import RULES
from testbed.rules.violation import Violation

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_FILE = re.compile(r"^(?P<file>.+):(?P<line>\d+)$")


def _location(violation: Violation) -> dict[str, Any]:
    name = f"{violation.resource} {violation.field}".strip()
    found: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": name}]}
    place = _FILE.match(violation.source)
    if place and not violation.source.startswith("urn:"):
        found["physicalLocation"] = {
            "artifactLocation": {"uri": place["file"].replace("\\", "/")},
            "region": {"startLine": int(place["line"])},
        }
    return found


def findings(found: Findings) -> str:
    """One run with one result for each violation."""
    names = list(RULES)
    rules = []
    for name, rule in RULES.items():
        first = (__import__(rule.__module__, fromlist=["__doc__"]).__doc__ or name).partition("\n")[0]
        rules.append({"id": name, "shortDescription": {"text": first}, "defaultConfiguration": {"level": "error"}})
    results = [
        {
            "ruleId": v.rule,
            "ruleIndex": names.index(v.rule),
            "level": "error",
            "message": {"text": one(v)},
            "locations": [_location(v)],
        }
        for v in found.violations
    ]
    driver = {"name": "kubeflower", "informationUri": "https://www.pulumi.com/docs/insights/policy/", "rules": rules}
    return json.dumps(
        {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}, indent=2
    )
