"""Findings as JSON: stable keys, documented in ``docs/policies.md``."""

from __future__ import annotations

import json
from typing import Any

from contract.decimals import plain
from testbed.edits import Edit
from testbed.manifests import dotted
from testbed.reachability.flow import Hop
from testbed.reachability.verdicts import Pair
from testbed.report.findings import Findings
from testbed.rules.violation import Violation


def _edit(edit: Edit) -> dict[str, Any]:
    group, kind, namespace, name = edit.key
    target = {"group": group, "kind": kind, "namespace": namespace, "name": name}
    found = {"op": edit.op, **target, "field": dotted(edit.path)}
    return found if edit.op == "remove" else {**found, "value": edit.value}


def _violation(violation: Violation) -> dict[str, Any]:
    return {
        "rule": violation.rule,
        "resource": violation.resource,
        "field": violation.field,
        "message": violation.message,
        "witness": list(violation.witness),
        "repair": violation.repair,
        "edits": [_edit(e) for e in violation.edits],
        "source": violation.source,
    }


def _hop(hop: Hop) -> dict[str, Any]:
    origin = hop.origin
    return {
        "at": hop.at,
        "why": hop.why,
        "resource": origin.resource if origin else None,
        "field": origin.field if origin else None,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "from": pair.source.name,
        "to": pair.target.name,
        "verdict": pair.verdict,
        "via": pair.via,
        "path": [_hop(h) for h in pair.path],
    }


def data(found: Findings) -> dict[str, Any]:
    """Findings as plain data."""
    result = found.reachability
    return {
        "violations": [_violation(v) for v in found.violations],
        "reachability": [_pair(p) for p in found.pairs()],
        "isolated_pairs": result.isolated if result else None,
        "complete": result.complete if result else False,
        "privacy": [
            {
                "dataset": a.dataset,
                "epsilon": plain(a.epsilon),
                "delta": plain(a.total.delta),
                "training": {"epsilon": plain(a.training.epsilon), "delta": plain(a.training.delta)}
                if a.training
                else None,
                "budget": plain(a.budget),
                "mechanisms": list(a.mechanisms),
                "releases": list(a.lines),
            }
            for a in found.accounts
        ],
    }


def findings(found: Findings) -> str:
    """Findings as JSON text."""
    return json.dumps(data(found), indent=2, default=str)
