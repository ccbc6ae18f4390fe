"""Stack outputs: the plain tables of ``testbed.outputs`` with what the Jobs' records add."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pulumi

from components.records import Record
from contract.decimals import plain
from testbed import outputs as tables
from testbed import placement
from testbed.spec import Testbed


def outputs(
    spec: Testbed,
    authority: str,
    releases: Mapping[str, pulumi.Output[Record | None]],
    grants: Mapping[str, pulumi.Output[Record | None]],
    run: pulumi.Output[Record | None],
) -> dict[str, Any]:
    """Return the outputs by name; nothing in them is secret.

    Args:
        spec: the testbed.
        authority: its certification authority's certificate (PEM).
        releases: each client's release record.
        grants: each client's grant record; none where the run's models carry no noise.
        run: the run's record.
    """
    clients = {}
    for one in placement.clients(spec):
        records = [releases[one.id], *([grants[one.id]] if one.id in grants else [])]
        found = pulumi.Output.all(*records).apply(lambda known: recorded(*known))
        clients[one.id] = {**tables.client(spec, one), **{key: found[key] for key in RECORDED}}
    return {
        "clients": clients,
        "server": tables.server(spec),
        "flowerConfig": tables.flower_config(spec),
        "caCertificate": authority,
        "isolation": tables.isolation(spec),
        "nodes": tables.nodes(spec),
        "privacy": tables.privacy(spec),
        "federation": run.apply(federation),
    }


RECORDED = ("budgetLeft", "records", "manifest", "noiseMultiplier", "note")


def recorded(release: Record | None, *grants: Record | None) -> dict[str, Any]:
    """Show what a client's Jobs recorded of its data; a ledger's latest word is the least that any says is left."""
    left = [str((record or {}).get("remaining", "")) for record in (release, *grants)]
    return {
        "budgetLeft": plain(min(map(Decimal, left))) if all(left) else None,
        "records": (release or {}).get("client_records"),
        "manifest": (release or {}).get("manifest"),
        "noiseMultiplier": next(((grant or {}).get("noise_multiplier") for grant in grants), None),
        "note": next(filter(None, map(_note, (release, *grants))), None),
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
