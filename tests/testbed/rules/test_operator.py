"""What the published operator got wrong, and what refuses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from . import worlds

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures" / "operator").glob("*.yaml"))


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    found = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


@pytest.mark.parametrize("path", FIXTURES, ids=[p.stem for p in FIXTURES])
def test_the_mistake_is_refused(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    manifests = [m for m in worlds.bodies() if m["kind"] not in case.get("without", ())]
    for patch in case.get("merge", ()):
        place = patch["metadata"]
        target = worlds.one(manifests, patch["kind"], place["name"], place.get("namespace"))
        target["spec"] = merged(target["spec"], patch["spec"])
    if "argv" in case:
        job = worlds.one(manifests, "Job", "p3vc-", f"lab-client-{case['argv']['client']}")
        words = worlds.template(job)["spec"]["containers"][0]["command"]
        words[words.index(case["argv"]["flag"]) + 1] = case["argv"]["value"]
    found = worlds.violations([*manifests, *case.get("add", ())])
    messages = [v.message for v in found if v.rule == case["rule"]]
    assert any(case["says"] in m for m in messages), messages


def test_there_is_a_fixture_for_each() -> None:
    assert len(FIXTURES) >= 12
