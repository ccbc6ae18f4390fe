"""What each node's administrator prepares on its disk: the owners' raw data, and folders for the volumes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.paths import Paths
from lab.progress import step
from testbed import contract, ledger, naming, placement
from testbed.spec import Client, Testbed

BUNDLED = ("digits",)  # data sets that need no download: scikit-learn brings them along


def prepare(paths: Paths, spec: Testbed) -> None:
    """Make every folder the testbed's volumes need, and put a bundled data set where its owner would.

    What is there stays as it is: raw data is its owner's, a ledger is never reset.

    Raises:
        LabError: when a client's data is missing and the lab cannot make it.
    """
    for purpose in ("state", "results"):
        _folder(_server_folder(paths, spec) / purpose)
    missing: dict[str, list[Path]] = {}
    for client in placement.clients(spec):
        raw = _client_folder(paths, spec, client) / "raw"
        _folder(private(paths, spec, client))
        for inside in (contract.SUBPATH_LEDGER, contract.SUBPATH_SEEDS):
            _folder(raw / inside)
        data = _folder(raw / contract.SUBPATH_DATA)
        if not any(data.iterdir()):
            missing.setdefault(client.dataset or spec.dataset.name, []).append(data)
    for dataset, folders in missing.items():
        if dataset not in BUNDLED:
            places = "\n".join(f"  {folder}" for folder in folders)
            raise LabError(f"the raw data of {dataset!r} is not on the nodes' disks: put it into\n{places}")
        with step(f"putting {dataset} on the disks of {len(folders)} clients"):
            _bundled(dataset, folders)


def results(paths: Paths, spec: Testbed) -> Path:
    """Where the server's runs leave their results."""
    return _server_folder(paths, spec) / "results"


def private(paths: Paths, spec: Testbed, client: Client) -> Path:
    """Where a client's release is."""
    return _client_folder(paths, spec, client) / "private"


def _server_folder(paths: Paths, spec: Testbed) -> Path:
    return paths.on_disk(spec.server.node, f"{spec.storage.root}/{spec.name}/{naming.SERVER}")


def _client_folder(paths: Paths, spec: Testbed, client: Client) -> Path:
    return paths.on_disk(client.node, f"{spec.storage.root}/{spec.name}/{client.id}")


def _folder(path: Path) -> Path:
    """Make a folder for the pods' user; one that is there keeps its owner and mode."""
    if not path.is_dir():
        path.mkdir(parents=True)
        os.chown(path, contract.UID, contract.UID)
        path.chmod(0o750)
    return path


def _bundled(dataset: str, folders: list[Path]) -> None:
    """Make a bundled data set once and give each folder its copy, complete or not at all."""
    with tempfile.TemporaryDirectory(prefix="kubeflower-") as scratch:
        made = Path(scratch) / f"{dataset}.npz"
        done = subprocess.run(
            [ledger.P3VC, "dataset", dataset, "--out", made], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LabError(f"making the data set {dataset!r} failed: {done.stderr.strip()}")
        content = made.read_bytes()
    for folder in folders:
        beside = folder / f".{made.name}"
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chown(beside, contract.UID, contract.UID)
        beside.chmod(0o440)
        beside.rename(folder / made.name)


def _ledger(paths: Paths, spec: Testbed, client: Client) -> Path:
    return _client_folder(paths, spec, client) / "raw" / contract.SUBPATH_LEDGER


def _place(spec: Testbed, client: Client) -> str:
    """Where the testbed has a client's ledger, as the policies name it: ``NODE:FOLDER``."""
    folder = f"{spec.storage.root}/{spec.name}/{client.id}/raw/{contract.SUBPATH_LEDGER}"
    return f"{naming.host(client.node)}:{folder}"


def kept_of(paths: Paths, spec: Testbed) -> bool:
    """Whether the lab has a ledger of a testbed."""
    return any(_ledger(paths, spec, client).is_dir() for client in placement.clients(spec))


def spent(paths: Paths, spec: Testbed) -> dict[str, Any]:
    """Read the clients' ledgers as the policies' configuration, so that a plan is added to what is spent.

    Raises:
        LabError: when a ledger is damaged, or admits no further claim.
    """
    found: list[ledger.Ledger] = []
    try:
        for client in placement.clients(spec):
            folder = _ledger(paths, spec, client)
            if folder.is_dir():  # a client that is new to the lab has none yet
                found += ledger.read(client.dataset or spec.dataset.name, folder, _place(spec, client))
        return ledger.spent(found)
    except ledger.LedgerError as error:
        raise LabError(f"the privacy ledger cannot be counted: {error}") from None


def kept(paths: Paths) -> Iterator[str]:
    """What ``lab down`` leaves on purpose, a line each."""
    if paths.disks.is_dir() and any(paths.disks.iterdir()):
        yield f"{paths.disks}: the nodes' disks with raw data, releases and ledgers (what was spent stays spent)"
    if (paths.root / "key-root").exists():
        yield f"{paths.root / 'key-root'}: the secret from which keys are derived"
