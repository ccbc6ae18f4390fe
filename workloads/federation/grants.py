"""Grants of training runs: what a client finds on its volume, and their single use on the server's."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from contract.files import TRAINING
from federation.data import Release
from federation.errors import DataError, FederationError
from federation.settings import Settings
from p3vc.chain import sync_folder

USED = "grants"


@dataclass(frozen=True)
class Grant:
    """What a client's dataset was charged for a run.

    Attributes:
        claim: id in the dataset's ledger.
        epsilon: decimal string, of the whole run.
        delta: decimal string.
        noise_multiplier: standard deviation of the noise in clipping norms over the number of clients.
    """

    claim: str
    epsilon: str
    delta: str
    noise_multiplier: float


def read(folder: Path, settings: Settings, release: Release) -> Grant:
    """Return the grant of this run that ``p3vc grant`` left beside the released data.

    Args:
        folder: the private volume.
        settings: of the run.
        release: what is in the folder: the grant must be for its dataset and its part.

    Raises:
        DataError: there is none, it is damaged, or it is for another run or other records.
    """
    path = folder / TRAINING
    try:
        content = json.loads(path.read_bytes())
        found = {
            "grant": str(content["grant"]),
            "training-epsilon": Decimal(content["epsilon"]),
            "training-delta": Decimal(content["delta"]),
            "rounds": int(content["rounds"]),
            "clipping-norm": float(content["clipping_norm"]),
        }
        grant = Grant(
            str(content["claim"]),
            str(content["epsilon"]),
            str(content["delta"]),
            float(content["noise_multiplier"]),
        )
        records = {"dataset": content["dataset"], "partition": content["partition"]}
    except FileNotFoundError:
        raise DataError(
            f"{path}: not found: the run trains under noise (grant {settings.grant}) and this client's dataset was not "
            "charged for it; wait for its grant job"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, InvalidOperation):
        raise DataError(f"{path}: not a grant of P3-VC: damaged; run the client's grant job again") from None
    asked = {
        "grant": settings.grant,
        "training-epsilon": settings.granted_epsilon,
        "training-delta": settings.granted_delta,
        "rounds": settings.rounds,
        "clipping-norm": settings.clipping_norm,
    }
    different = [f"{key} {found[key]} (the run: {asked[key]})" for key in asked if found[key] != asked[key]]
    if different:
        raise DataError(f"{path}: is for another run: {', '.join(different)}; wait for this run's grant job")
    if records != {"dataset": release.dataset, "partition": release.partition}:
        raise DataError(
            f"{path}: was charged for other records than the release beside it holds; run the client's grant job again"
        )
    return grant


def refuse_used(results: Path, grant: str) -> None:
    """Stop a run early whose grant was used.

    Raises:
        FederationError: a run made models under the grant.
    """
    path = results / USED / grant
    if path.exists():
        raise _used(path)


def use(results: Path, grant: str, run_id: int) -> None:
    """Mark a grant as used by this run, durably: what it pays for is about to be made.

    A run that is started a second time is refused as another would be: its rounds would be more than were granted.

    Raises:
        FederationError: it was used, or cannot be marked.
    """
    path = results / USED / grant
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(f"{run_id}\n")
            file.flush()
            os.fsync(file.fileno())
        for folder in (path.parent, results):
            sync_folder(folder)
    except FileExistsError:
        raise _used(path) from None
    except OSError as error:
        raise FederationError(f"{path}: cannot be written: {error.strerror}") from None


def _used(path: Path) -> FederationError:
    run = path.read_text(encoding="utf-8").strip() or "unknown"
    return FederationError(
        f"grant {path.name}: was used by run {run}, whose models the clients' datasets were charged for; another run "
        "costs again: raise federation.training_dp.number"
    )
