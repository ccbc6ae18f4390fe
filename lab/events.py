"""What the engine's events say to a person: what it waits for, what took long, what was refused and what failed."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lab.progress import say

SLOW = 1.0  # seconds from which a finished resource is worth a line
SILENCE = 10.0  # seconds after which what is being waited for is said again
AMBIENT = "from $PATH at"  # the engine's note on every plugin that it finds on PATH
DONE = {"create": "created", "update": "updated", "delete": "deleted", "replace": "replaced"}
DONE |= {"create-replacement": "created anew", "delete-replaced": "deleted the old"}


@dataclass
class Narrator:
    """Follows one operation.

    Attributes:
        verb: ``up`` or ``preview``.
        changes: number of resources by operation, ``same`` left out, from the last summary.
        problems: what the engine and the policies refused or failed on.
        raw: the command's own output, for when there is nothing better to say.
    """

    verb: str
    changes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    raw: str = ""
    code: int | None = None
    _since: dict[str, float] = field(default_factory=dict)
    _status: dict[str, str] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _last: float = field(default_factory=time.monotonic)
    _finished: int = 0

    def tell(self, event: dict[str, Any]) -> None:
        """Take one event of the engine's log."""
        for name, handle in (
            ("preludeEvent", self._prelude),
            ("resourcePreEvent", self._begun),
            ("resOutputsEvent", self._done),
            ("resOpFailedEvent", self._failed),
            ("diagnosticEvent", self._diagnosed),
            ("policyEvent", self._judged),
            ("summaryEvent", self._summed),
        ):
            if name in event:
                handle(event[name])

    def pulse(self, now: float) -> None:
        """Say what is being waited for when nothing was said for a while."""
        if now - self._last < SILENCE or not self._since:
            return
        slowest = sorted(self._since.items(), key=lambda item: item[1])[:4]
        waiting = "; ".join(f"{self._status.get(urn) or _name(urn)} ({now - begun:.0f} s)" for urn, begun in slowest)
        more = len(self._since) - len(slowest)
        self._say(f"{self._finished} done, {waiting}{f'; {more} more' if more else ''}")

    def finish(self, code: int) -> None:
        """Take the exit code; a failure without an event keeps the command's own words."""
        self.code = code
        self.problems = [p for p in self.problems if p not in ("preview failed", "update failed")] or self.problems
        if code and not self.problems:
            self.problems.append(self.raw.rpartition("Diagnostics:")[2].strip()[-4000:])

    @property
    def ok(self) -> bool:
        """Whether the operation succeeded."""
        return self.code == 0

    def _say(self, text: str) -> None:
        self._last = time.monotonic()
        say(text)

    def _prelude(self, _event: dict[str, Any]) -> None:
        self._since.clear()
        self._finished = 0

    def _begun(self, event: dict[str, Any]) -> None:
        meta = event["metadata"]
        if meta["op"] in DONE and not event.get("planning") and _is_custom(meta):
            self._since[meta["urn"]] = time.monotonic()

    def _done(self, event: dict[str, Any]) -> None:
        meta = event["metadata"]
        begun = self._since.pop(meta["urn"], None)
        if begun is None:
            return
        self._finished += 1
        took = time.monotonic() - begun
        if took > SLOW and meta["op"] in DONE:
            self._say(f"{DONE[meta['op']]} {_name(meta['urn'])} in {took:.1f} s")

    def _failed(self, event: dict[str, Any]) -> None:
        meta = event["metadata"]
        self._since.pop(meta["urn"], None)
        self._say(f"{_name(meta['urn'])} failed")

    def _diagnosed(self, event: dict[str, Any]) -> None:
        severity, text = event["severity"], event["message"].strip()
        if not text or AMBIENT in text or severity == "debug":
            return
        passing = severity.startswith("info") or (severity == "warning" and event.get("ephemeral"))
        if event.get("urn") in self._since and passing:
            self._status[event["urn"]] = text  # what it waits for; said when it takes long
            return
        subject = f"{_name(event['urn'])}: " if event.get("urn") and ":Stack::" not in event["urn"] else ""
        if severity == "error":
            self._problem(subject + text)
        elif severity in ("warning", "info", "info#err") and subject + text not in self._told:
            self._told.add(subject + text)
            self._say(f"{'warning: ' if severity == 'warning' else ''}{subject}{text.splitlines()[0]}")

    def _judged(self, event: dict[str, Any]) -> None:
        text = f"policy {event['policyName']} ({event['enforcementLevel']}): {event['message'].strip()}"
        if event["enforcementLevel"] in ("mandatory", "remediate"):
            self._problem(text)
        elif text not in self._told:
            self._told.add(text)
            self._say(text)

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def _summed(self, event: dict[str, Any]) -> None:
        changes = Counter({op: n for op, n in event.get("resourceChanges", {}).items() if op != "same" and n})
        self.changes = changes
        what = ", ".join(
            f"{n} to {op}" if event["isPreview"] else f"{n} {DONE.get(op, op)}" for op, n in changes.items()
        )
        self._say(f"{'preview' if event['isPreview'] else 'update'}: {what or 'no changes'}")


def _is_custom(meta: dict[str, Any]) -> bool:
    """Whether a resource is a real one, made by a provider, and no component around others."""
    return bool((meta.get("new") or meta.get("old") or {}).get("custom"))


def _name(urn: str) -> str:
    """Kind and name of a resource, short: ``Job lab-client-e1/p3vc``."""
    _, _, kinds, name = (*urn.split("::", 3), "", "", "")[:4]
    return f"{kinds.rsplit('$', 1)[-1].rsplit(':', 1)[-1]} {name}"
