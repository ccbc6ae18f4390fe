"""What privacy ledgers hold, read by the P3-VC's own reader, for a person and for the policies.

The ledger's format and its checks (hash chain, torn last line) belong to ``workloads/p3vc``, which is another
environment: it is asked, never imitated.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.partition import Partition

P3VC = Path(__file__).resolve().parent.parent / "workloads" / ".venv" / "bin" / "p3vc"


class LedgerError(ValueError):
    """A ledger that cannot be read, or that admits no further claim; the message says which and why."""


@dataclass(frozen=True)
class Ledger:
    """One dataset's account.

    Attributes:
        dataset: the name under which the testbed declares it.
        folder: where it was read.
        place: where the testbed has it, ``NODE:FOLDER``, which tells it from every other ledger.
        record: what ``p3vc ledger --json`` says: ``budget``, ``spent``, ``remaining``, ``claims``, ``entries``.
    """

    dataset: str
    folder: Path
    place: str
    record: Mapping[str, Any]

    @property
    def replaced(self) -> bool:
        """Whether the data's owner began a new dataset in its place: what was spent is not of the present records."""
        return (self.record.get("closed") or {}).get("action") == "begin"

    def claims(self) -> dict[str, dict[str, str]]:
        """Return every claim that counts: its epsilon, a grant's delta and run and, where asserted disjoint, its part.

        Raises:
            LedgerError: when a release without a DP claim was made of this dataset.
        """
        parts = {e["claim"]: e for e in self.record["entries"] if e["type"] == "reserve"}
        found = {}
        for name, claim in self.record["claims"].items():
            if not _is_number(claim["epsilon"]):
                raise LedgerError(
                    f"{self.folder}: claim {name} was released without a DP claim; nothing more can be proved"
                )
            found[name] = {"epsilon": claim["epsilon"]} | _noise(claim)
            if parts[name].get("parallel"):
                found[name]["part"] = _part(parts[name]["parameters"]["partition"])
        return found


def _noise(claim: Mapping[str, Any]) -> dict[str, str]:
    return {"delta": claim["delta"], "run": claim["grant"]} if claim.get("delta") else {}


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _part(recorded: Mapping[str, Any]) -> str:
    alpha = None if recorded["alpha"] is None else float(recorded["alpha"])
    index, count, seed = (int(recorded[key]) for key in ("index", "count", "seed"))
    return Partition.of(index, count, recorded["partitioner"], alpha, seed).name


def local(folder: Path) -> str:
    """Return the place of a ledger's folder on this machine."""
    return f"{socket.gethostname().lower()}:{folder.resolve()}"


def read(dataset: str, folder: Path, place: str | None = None) -> list[Ledger]:
    """Read the accounts in ``folder``; none when nothing was registered there yet.

    Args:
        dataset: the name under which the testbed declares the data.
        folder: a ledger folder, beside the raw data.
        place: ``NODE:FOLDER`` where the testbed has it; this very folder on this machine when None.

    Raises:
        LedgerError: when there is no such folder, the ledger is damaged, or the P3-VC is not installed.
    """
    if not P3VC.exists():
        raise LedgerError(f"{P3VC}: not installed; run `uv sync --project workloads`")
    if not folder.is_dir():
        raise LedgerError(f"{folder}: no such folder")
    found = []
    for account in sorted(folder.glob("*.jsonl")):
        if b"\n" not in account.read_bytes():  # a registration that a crash cut off: no account yet
            continue
        argv = [str(P3VC), "ledger", "--ledger", str(folder), "--dataset", f"hmac-sha256:{account.stem}", "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LedgerError(done.stderr.strip().removeprefix("p3vc: "))
        found.append(Ledger(dataset, folder, place or local(folder), json.loads(done.stdout)))
    return found


def table(ledgers: Sequence[Ledger]) -> str:
    """Show each account and its claims; epsilons are exact decimals."""
    lines = []
    for ledger in ledgers:
        record = ledger.record
        rule, delta = record["composition"], record["delta"]
        if delta:
            rule += f", delta {record['delta_spent']} of {delta}" if rule == "basic" else f" at delta {delta}"
        sums = f"spent {record['spent']} of {record['budget']} ({rule}), {record['remaining']} left"
        lines.append(f"{ledger.dataset}: {sums}   {ledger.folder}")
        for name, claim in record["claims"].items():
            cost = {"epsilon": claim["epsilon"], "delta": claim.get("delta")}
            shown = ", ".join(f"{what} {value}" for what, value in cost.items() if value)
            lines.append(f"  {name}: {shown}, {claim['mechanism']}, {claim['status']}")
    return "\n".join(lines) or "nothing registered"


def spent(ledgers: Sequence[Ledger]) -> dict[str, Any]:
    """Write ledgers as the configuration of the policies: what ``privacy-budget`` is to count as spent already.

    Parts count in parallel where each ledger of a name has one account. Ledgers name data by keys of their own, so
    nothing here shows that these accounts are of copies of one dataset: it is assumed, for the testbed gives them one
    name. Several accounts in one ledger are of different data, whose parts say nothing about each other. An account
    that the data's owner replaced by a new dataset is no account of the data that a testbed declares.

    Raises:
        LedgerError: as ``Ledger.claims``.
    """
    accounts = {(one.dataset, one.place, one.record["dataset"]): one for one in ledgers if not one.replaced}
    places = Counter((dataset, place) for dataset, place, _ in accounts)
    several = {dataset for (dataset, _), count in places.items() if count > 1}
    found: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for (dataset, place, _), ledger in accounts.items():
        claims = found.setdefault(dataset, {}).setdefault(place, {})
        for name, entry in ledger.claims().items():
            if dataset in several:
                entry.pop("part", None)
            claims[name] = entry
    return {"privacy-budget": {"spent": found}}
