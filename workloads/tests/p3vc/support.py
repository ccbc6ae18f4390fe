"""What the P3-VC tests share: small datasets, and the command line run in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from p3vc import cli

SEED = bytes(range(32))


def images(count: int, shape: tuple[int, int, int] = (3, 8, 8), seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def save(path: Path, count: int = 50, shape: tuple[int, int, int] = (3, 8, 8), seed: int = 0, classes: int = 5) -> Path:
    labels = np.arange(count) % classes
    np.savez(path, images=images(count, shape, seed), labels=labels)
    return path


class Tool:
    """``p3vc`` on one dataset and one ledger in a temporary folder."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture
        self.data, self.ledger = folder / "raw.npz", folder / "ledger"

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Return exit code, standard output and standard error of one command."""
        try:
            code = cli.main(argv)
        except SystemExit as stop:  # argparse
            code = int(stop.code or 0)
        out, err = self._capture.readouterr()
        return code, out, err

    def register(self, *more: str, budget: str = "2.0") -> tuple[int, str, str]:
        return self.run("register", "--data", str(self.data), "--ledger", str(self.ledger), "--budget", budget, *more)

    def release(self, claim: str, epsilon: str = "0.7", out: str = "out", *more: str) -> tuple[int, str, str]:
        where = ("--data", str(self.data), "--out", str(self.folder / out), "--ledger", str(self.ledger))
        size = () if "--block" in more else ("--block", "4", "--neighbourhood", "2")
        return self.run("release", *where, "--claim", claim, "--epsilon", epsilon, *size, *more)

    def state(self) -> dict[str, Any]:
        code, out, err = self.run("ledger", "--ledger", str(self.ledger), "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    def seeds(self) -> list[Path]:
        """Return every seed that is kept, in the ledger or beside it."""
        beside = self.ledger.with_name(f"{self.ledger.name}.seeds")
        return [file for folder in (beside, self.ledger / "seeds") for file in folder.glob("[!C]*")]

    def manifest(self, out: str = "out") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / out / "manifest.json").read_text())
        return found
