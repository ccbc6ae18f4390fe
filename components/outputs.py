"""Stack outputs: the plain tables of ``testbed.outputs`` with what the Jobs' records add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.records import Record
from testbed import outputs as plain
from testbed import placement
from testbed.spec import Testbed


def outputs(
    spec: Testbed,
    authority: str,
    releases: Mapping[str, pulumi.Output[Record | None]],
    run: pulumi.Output[Record | None],
) -> dict[str, Any]:
    """Return the outputs by name; nothing in them is secret.

    Args:
        spec: the testbed.
        authority: its certification authority's certificate (PEM).
        releases: each client's release record.
        run: the run's record.
    """
    clients = {}
    for one in placement.clients(spec):
        record = releases[one.id]
        clients[one.id] = {
            **plain.client(spec, one),
            "budgetLeft": record.apply(lambda r: (r or {}).get("remaining")),
            "records": record.apply(lambda r: (r or {}).get("client_records")),
            "manifest": record.apply(lambda r: (r or {}).get("manifest")),
            "note": record.apply(_note),
        }
    return {
        "clients": clients,
        "server": plain.server(spec),
        "flowerConfig": plain.flower_config(spec),
        "caCertificate": authority,
        "isolation": plain.isolation(spec),
        "nodes": plain.nodes(spec),
        "privacy": plain.privacy(spec),
        "federation": run.apply(federation),
    }


def federation(record: Record | None) -> dict[str, Any]:
    """Show a run's record: loss, accuracy (0 to 1), seconds and bytes by round, and the final model's digest."""
    found = record or {}
    return {
        "rounds": found.get("rounds", []),
        "model": found.get("model"),
        "clients": found.get("clients"),
        "note": _note(record),
    }


def _note(record: Record | None) -> str | None:
    """Why a record is missing; None when it is there."""
    if record is None:
        return "not complete yet"
    return record.get("note") or record.get("error")
