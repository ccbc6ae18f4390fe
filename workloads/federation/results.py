"""The results of a run on the server's volume: a folder a run, complete only when its summary is there."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.files import HISTORY, MODEL, SUMMARY
from federation.errors import FederationError
from p3vc.chain import sync_folder

PROVENANCE = "provenance"


class RunFolder:
    """Writes one run's results; ``summary.json`` appears last."""

    def __init__(self, root: Path, run_id: int) -> None:
        self.path = root / f"run-{run_id}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / HISTORY).write_bytes(b"")
        except OSError as error:
            raise FederationError(f"results: {self.path}: cannot be written: {error.strerror}") from None

    def add_round(self, record: Mapping[str, Any]) -> None:
        """Append a round to the history and put it on disk, so that a run that dies keeps what it had."""
        with (self.path / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self, arrays: Mapping[str, npt.NDArray[Any]], summary: Mapping[str, Any]) -> None:
        """Save the model with its provenance, then the summary with the model's digest."""
        buffer = io.BytesIO()
        content: dict[str, Any] = {**arrays, PROVENANCE: np.array(json.dumps(summary))}
        np.savez(buffer, **content)
        model = buffer.getvalue()
        write(self.path / MODEL, model)
        complete = {**summary, "model": hashlib.sha256(model).hexdigest()}
        write(self.path / SUMMARY, json.dumps(complete, indent=1).encode())


def write(path: Path, content: bytes) -> None:
    """Replace a file as a whole: beside, synced, renamed."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return a run's rounds in order.

    Raises:
        FederationError: there is no such run or its history is damaged.
    """
    path = folder / HISTORY
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise FederationError(f"{path}: not found: no run has written results there") from None
    except ValueError as error:
        raise FederationError(f"{path}: damaged: {error}") from None


def read_summary(folder: Path) -> dict[str, Any]:
    """Return a complete run's summary.

    Raises:
        FederationError: the run did not end.
    """
    path = folder / SUMMARY
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise FederationError(f"{path}: not found: the run did not write its results") from None
    except ValueError as error:
        raise FederationError(f"{path}: damaged: {error}") from None
