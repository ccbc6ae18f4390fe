"""The termination message: a run's record, small enough for Kubernetes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from federation.errors import InputError

LIMIT = 4096  # bytes Kubernetes keeps of a termination message
# A release's epsilon and a training run's are never added: they are of other relations, and one has a delta.
_PROVENANCE = ("epsilon", "mechanism", "training-epsilon", "training-delta")


def success(summary: Mapping[str, Any]) -> str:
    """Return the record of a complete run as JSON; the oldest rounds are left out when it would be too long."""
    rounds = [
        {
            "round": r["round"],
            "loss": round(r["loss"], 4),
            "accuracy": round(r["accuracy"], 4),
            "seconds": round(r["seconds"], 2),
            "bytes": r["bytes"],
        }
        for r in summary["rounds"]
    ]
    accuracy = summary["client-accuracy"]
    clients = {
        name: {"accuracy": round(accuracy[name], 4), **{key: c[key] for key in _PROVENANCE if key in c}}
        for name, c in summary["clients"].items()
    }
    record = {"run": str(summary["run"]), "model": summary["model"], "clients": clients, "rounds": rounds}
    while len(text := json.dumps(record, separators=(",", ":"))) > LIMIT and (rounds or clients):
        if rounds:
            rounds.pop(0)
        else:
            clients.popitem()
    return text


def failure(message: str) -> str:
    """Return the record of a failed run as JSON."""
    text = json.dumps({"error": message})
    while len(text) > LIMIT:
        message = message[: -max(1, (len(text) - LIMIT) // 6)]
        text = json.dumps({"error": message})
    return text


def leave(path: Path | None, text: str) -> None:
    """Write the record where Kubernetes looks for it.

    The file is the container runtime's, made before the process starts, so it is written in place.
    """
    if path is None:
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--termination-log {path}: {error.strerror}") from None
