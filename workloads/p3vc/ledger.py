"""The privacy ledger of a folder: one hash-chained file per dataset digest, kept beside the raw data.

A dataset is named by the HMAC of its content digest under the ledger's own random key. Manifests and termination
messages carry that name, and a plain digest there would be an exact answer about the raw data, outside any DP claim:
who knows all records but one could test guesses of the last. What else of the files enters the chain, or leaves it in a
manifest, is keyed too: a compressed file's size depends on its pixels.

Life of a claim: ``reserve`` (admitted under the registered rule; counts from here on) → the claim's secret seed is
stored → ``commit`` (names the seed's SHA-256) → the data is read and released → ``complete`` (names the manifest's
digest) → the seed is destroyed. ``cancel`` gives a reservation back, and only a reservation: from ``commit`` on the
charge stays. A training grant goes the same way without a seed: its noise is the aggregator's.

Why a seed: a claim interrupted after its commit may have shown part of its output, so fresh noise for it would be a
second release. Its noise is a function of the committed seed, so a rerun writes the same bytes and costs nothing
more. Once complete the seed is destroyed, because seed and release together give the raw data away; a copy that is
lost later can therefore not be made again under the same claim. Deleting it is as good as the file system's
deletion. Seeds lie outside the ledger's folder (``seeds.py``), so no backup of a ledger undoes any noise.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from contract.composition import Charge
from contract.decimals import INFINITE, plain
from contract.files import MANIFEST, TRAINING
from p3vc.account import Account, Terms
from p3vc.chain import Chain, locked, replace
from p3vc.errors import BadInputError, RefusedError
from p3vc.invariants import Invariants
from p3vc.places import Known, reaches
from p3vc.seeds import Seeds, beside
from p3vc.terms import confirm, ended, meaningful, stricter_neighbourhood, unclaimed
from p3vc.terms import raised as raise_terms

_PREFIX = "hmac-sha256:"
_KEY_BYTES = 32


class Ledger:
    """The accounts in a folder.

    Args:
        folder: of the ledger.
        seeds: where the seeds of releases under way lie; beside the ledger when None.
        create: make the folder when it is not there.
    """

    def __init__(self, folder: Path, seeds: Path | None = None, *, create: bool = False) -> None:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise BadInputError(f"--ledger {folder}: no ledger there; register the dataset first with p3vc register")
        self.folder = folder
        self.seeds = Seeds(beside(folder) if seeds is None else seeds, folder / "seeds")

    def identify(self, content: bytes) -> str:
        """Return the name of a dataset in this ledger: its content digest, keyed.

        Raises:
            BadInputError: the ledger has accounts and has lost its key.
        """
        path = self.folder / "key"
        if not path.exists():
            with self._locked():
                if not path.exists() and not any(self.folder.glob("*.jsonl")):
                    replace(path, os.urandom(_KEY_BYTES), 0o600)
        return _PREFIX + hmac.digest(self._key(), content, "sha256").hex()

    def _key(self) -> bytes:
        path = self.folder / "key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            raise BadInputError(f"{path}: the ledger has lost its key; restore it from a backup") from None
        if len(key) != _KEY_BYTES:  # another key would give every dataset another name, and with it a fresh budget
            raise BadInputError(
                f"{path}: the ledger's key is damaged: it has {len(key)} bytes instead of {_KEY_BYTES}; restore it "
                "from a backup"
            )
        return key

    def _keyed(self, purpose: str, text: str = "") -> str:
        """Return what stands for ``text`` where it may be seen; no content digest is as long as what is keyed here."""
        return hmac.digest(self._key(), f"{purpose} {text}".encode(), "sha256").hex()

    def accounts(self) -> dict[str, Account]:
        """Replay every account, by dataset digest.

        Raises:
            BadInputError: a chain is broken, a file is no account of this ledger, or the key is not this ledger's.
        """
        found = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            if not re.fullmatch("[0-9a-f]{64}", path.stem):
                raise BadInputError(f"{path}: is no account's file: move it out of the ledger's folder")
            account = Account(Chain(path))
            for line, entry in enumerate(account.chain.entries, 1):
                account.apply(line, entry)
            if not account.dataset:  # a registration torn by a crash leaves an empty file
                continue
            if account.dataset != _PREFIX + path.stem:
                raise BadInputError(
                    f"{path}: holds a copy of the account of {account.dataset}, whose file is named after it: move "
                    "this one out of the ledger's folder"
                )
            if account.key_check not in (None, self._keyed("key check")):
                raise BadInputError(
                    f"{self.folder / 'key'}: is not the key that {path.name} was written under; restore it from a "
                    "backup"
                )
            found[account.dataset] = account
        orphans = [head.name for head in self.folder.glob("*.head") if not head.with_suffix(".jsonl").exists()]
        if orphans:
            raise BadInputError(
                f"--ledger {self.folder}: {orphans[0]} has lost its .jsonl file; restore it from a backup"
            )
        return found

    def seen(self, fingerprint: str) -> Account | None:
        """Return the account of a dataset whose untouched files were read before."""
        return next(
            (a for a in self.accounts().values() if self._keyed("fingerprint", fingerprint) in a.fingerprints), None
        )

    def _sight(self, fingerprint: str) -> dict[str, str]:
        """Return what an entry says of files that were read whole: which they were, and under which key."""
        return {"fingerprint": self._keyed("fingerprint", fingerprint), "key_check": self._keyed("key check")}

    def register(
        self,
        dataset: str,
        terms: Terms,
        invariants: Invariants,
        violations: dict[str, int],
        fingerprint: str,
        *,
        data: Path,
        classes_declared: bool,
    ) -> bool:
        """Open an account, or confirm it on the same terms. Returns whether it is new.

        One data path is one account: a part of the data, or other records at the same path, are a new dataset only
        once the owner has ended the old one (``decide``). A budget that the account ever had is a right one to name.

        A label set that was taken from the data may be declared later, as it is: but not once private labels were
        released under it, for then it has already told of them.

        Raises:
            BadInputError: it is registered on other terms, or the delta means nothing for so many records.
            RefusedError: the data path is another account's, or claims were less than the neighbourhood asked for.
        """
        with self._locked():
            accounts, place = self.accounts(), Known.of(data)
            account = accounts.get(dataset)
            if account is None:
                unclaimed(data, accounts.values(), self.folder)
                meaningful(terms, invariants.records)
                account = Account(Chain(self.folder / f"{dataset.removeprefix(_PREFIX)}.jsonl"))
                account.append(
                    {
                        "type": "register",
                        "dataset": dataset,
                        "terms": terms.as_json(),
                        "invariants": invariants.as_json(),
                        "violations": violations,
                        "classes_declared": classes_declared,
                        "data": dataclasses.asdict(place),
                        **self._sight(fingerprint),
                    }
                )
                return True
            self._sweep(account)
            confirm(account, terms, invariants, self.folder)
            if (stricter := stricter_neighbourhood(account, terms)) is not None:
                account.append({"type": "neighbourhood", "neighbourhood": stricter})
            sight = self._sight(fingerprint)
            elsewhere = any(
                reaches(data, known) for one in accounts.values() if one is not account for known in one.places
            )
            moved = place not in account.places and not elsewhere
            if moved or sight["fingerprint"] not in account.fingerprints:
                account.append({"type": "seen", **sight, **({"data": dataclasses.asdict(place)} if moved else {})})
            if classes_declared and not account.classes_declared and not account.private_labels:
                account.append({"type": "declare", "classes": invariants.classes})
            return False

    def choose(self, dataset: str | None) -> Account:
        """Return the account of this name, or when None the only one that is not replaced.

        Raises:
            BadInputError: none, several and none named, or a broken chain.
        """
        accounts = self.accounts()
        if dataset is not None:
            if dataset not in accounts:
                raise BadInputError(f"--dataset {dataset}: not in {self.folder}; it has {', '.join(accounts)}")
            return accounts[dataset]
        candidates = [one for one in accounts.values() if not one.replaced] or list(accounts.values())
        if len(candidates) != 1:
            known = ", ".join(accounts) or "none; register one first"
            raise BadInputError(
                f"--ledger {self.folder}: has {len(accounts)} datasets ({known}); name one with --dataset"
            )
        return candidates[0]

    def decide(
        self, dataset: str | None, action: str, who: str, why: str, *, raised: dict[str, Decimal] | None = None
    ) -> Account:
        """Record what a data owner decided of an account.

        Args:
            dataset: which one; None for the only one.
            action: ``raise`` budget or delta; ``close``, after which there is no new claim; or ``begin``, which closes
                and frees the data path for a new dataset.
            who: decided.
            why: in words.
            raised: of ``raise``: ``budget``, ``delta`` or both, each above the present one.

        Raises:
            BadInputError: no such account, or nothing is raised.
            RefusedError: it has ended, or no budget would mean anything any more.
        """
        with self._locked():
            account = self.choose(dataset)
            if account.replaced or (account.closed and action != "begin"):
                raise RefusedError(f"dataset {account.dataset} {ended(account)}; nothing was changed")
            entry: dict[str, Any] = {"type": "owner", "action": action, "who": who, "why": why}
            if action == "raise":
                entry["terms"] = raise_terms(account, raised or {})
            account.append(entry)
            return account

    def note(self, dataset: str, fingerprint: str) -> None:
        """Remember that files with this fingerprint hold ``dataset``."""
        with self._locked():
            self.accounts()[dataset].append({"type": "seen", **self._sight(fingerprint)})

    def quote(self, account: Account, claim: str) -> dict[str, Any]:
        """Return how many lines an account had once a claim was charged for good, and the head they lead to.

        The head is keyed: by the key alone it tells of the data. The quote of a claim is always the same.
        """
        settled = account.claims[claim].settled
        if settled is None:
            raise ValueError(f"claim {claim} is not charged for good yet")
        return {"seq": settled, "head": _PREFIX + self._keyed("head", account.chain.heads[settled])}

    def compare(self, out: Path) -> None:
        """Compare an account with what an earlier release or grant at ``out``, if there is one, quotes of it.

        Raises:
            BadInputError: the account has forgotten one.
        """
        for name in (MANIFEST, TRAINING):
            self._compare(out / name)

    def _compare(self, manifest: Path) -> None:
        try:
            held = json.loads(manifest.read_bytes())
            dataset, seq, head = str(held["dataset"]), held["ledger"]["seq"], held["ledger"]["head"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return  # nothing there that was ever charged
        account = self.accounts().get(dataset)
        if account is None:
            return
        known = next((known for number, known in enumerate(account.chain.heads) if number == seq), None)
        if known is None or head not in (known, _PREFIX + self._keyed("head", known)):  # plain: an older manifest's
            raise BadInputError(
                f"{account.chain.path}: has forgotten what {manifest} was charged, when it had {seq} lines: it was "
                "restored from an older backup, which forgets what was spent since, or lines were replaced. Restore "
                "the newest one; nothing was charged or read"
            )

    def known(self, claim: str, formerly: str | None) -> str:
        """Return the id under which the ledger has a claim: its own, unless only the former one is known."""
        names = {name for account in self.accounts().values() for name in account.claims}
        return formerly if formerly in names and claim not in names else claim

    @contextmanager
    def exclusively(self, claim: str) -> Iterator[None]:
        """Let one process at a time work on a claim."""
        (self.folder / "locks").mkdir(exist_ok=True)
        with locked(self.folder / "locks" / _name(claim)):
            yield

    def admit(
        self, dataset: str, claim: str, parameters: dict[str, Any], charge: Charge, disjoint: str | None = None
    ) -> Account:
        """Reserve a claim, or find it again with the same parameters; decide nothing else.

        ``disjoint`` is the assertion under which a part is charged in parallel, in the data owner's words.

        Raises:
            BadInputError: the claim id stands for other parameters.
            RefusedError: over budget. Nothing has been written.
        """
        with self._locked():
            accounts = self.accounts()
            for account in accounts.values():
                if claim in account.claims:
                    _same(claim, account.claims[claim].parameters, parameters)
                    return account
            account = accounts[dataset]
            self._afford(account, claim, charge)
            parallel = None if charge.family is None else {"family": charge.family, "part": charge.part}
            noise = {} if charge.rho is None else {"delta": plain(charge.delta), "rho": plain(charge.rho)}
            account.append(
                {
                    "type": "reserve",
                    "claim": claim,
                    "parameters": parameters,
                    "epsilon": plain(charge.epsilon),
                    "parallel": parallel,
                    **({} if disjoint is None else {"disjoint": disjoint}),
                    **noise,
                }
            )
            return account

    def _afford(self, account: Account, claim: str, charge: Charge) -> None:
        terms, after = account.terms, account.after(charge)
        if account.closed:
            raise RefusedError(f"claim {claim} refused: dataset {account.dataset} {ended(account)}; nothing was read")
        if account.spent == INFINITE and charge.epsilon.is_finite():
            raise RefusedError(
                f"claim {claim}: dataset {account.dataset} has had a release without a DP claim, so its loss is "
                "unbounded and no later claim holds; nothing was read"
            )
        if charge.epsilon.is_finite() and after > terms.budget:
            rule = terms.composition + ("" if terms.delta is None else f", delta {terms.delta}")
            raise RefusedError(
                f"claim {claim} refused: it asks for epsilon {plain(charge.epsilon)}, which would bring dataset "
                f"{account.dataset} to {plain(after)} of {plain(terms.budget)} ({rule}); spent "
                f"{plain(account.spent)}, remaining {plain(account.remaining)}. Lower the epsilon or reuse the "
                "release there is; nothing was read or written"
            )
        if terms.composition == "basic" and charge.delta:
            _afford_delta(account, claim, charge)

    def settle(self, dataset: str, claim: str) -> Account:
        """Charge a claim that has no noise of its own, and so no seed, for good; repeating it changes nothing."""
        with self._locked():
            account = self.accounts()[dataset]
            if account.claims[claim].status == "reserved":
                account.append({"type": "commit", "claim": claim})
            return account

    def commit(self, dataset: str, claim: str) -> tuple[Account, bytes]:
        """Return the account and the claim's seed, which is committed by then and stays the same until completion.

        Raises:
            RefusedError: the committed seed is gone, so the release can be neither finished nor repeated.
        """
        with self._locked():
            account = self.accounts()[dataset]
            state = account.claims[claim]
            if state.status == "committed":
                seed = self.seeds.find(*self._seed_names(claim))
                if seed is None or hashlib.sha256(seed).hexdigest() != state.commitment:
                    raise RefusedError(
                        f"claim {claim}: was interrupted and its seed is lost or was destroyed, so its noise cannot "
                        f"be repeated: {self.seeds.folder} has none. If it lies elsewhere, name that folder with "
                        "--seeds; else fresh noise costs again: ask under a new claim id"
                    )
                return account, seed
            self._sweep(account)
            seed = os.urandom(32)
            self.seeds.keep(self._seed_names(claim)[0], seed)
            account.append({"type": "commit", "claim": claim, "seed_sha256": hashlib.sha256(seed).hexdigest()})
            return account, seed

    def complete(self, dataset: str, claim: str, manifest: str) -> Account:
        """Record that the claim's release is whole and destroy its seed; repeating it changes nothing."""
        with self._locked():
            account = self.accounts()[dataset]
            if account.claims[claim].status != "complete":
                account.append({"type": "complete", "claim": claim, "manifest": manifest})
            self._destroy_seed(claim)
            return account

    def _sweep(self, account: Account) -> None:
        """Destroy the seeds of whole releases, which a crash left between its last two steps."""
        for claim, state in account.claims.items():
            if state.status == "complete":
                self._destroy_seed(claim)

    def forfeit(self, claim: str) -> None:
        """Destroy a committed claim's seed, so that its noise falls on no other data; its charge stays."""
        with self._locked():
            self._destroy_seed(claim)

    def cancel(self, claim: str) -> Account:
        """Give back a reservation that was never committed.

        Raises:
            BadInputError: no such claim.
            RefusedError: the claim went further.
        """
        with self.exclusively(claim), self._locked():
            for account in self.accounts().values():
                if claim in account.claims:
                    status = account.claims[claim].status
                    if status != "reserved":
                        raise RefusedError(
                            f"claim {claim} is {status}: its data may have been read, so its charge stays"
                        )
                    account.append({"type": "cancel", "claim": claim})
                    return account
        raise BadInputError(f"claim {claim}: not in this ledger")

    def _destroy_seed(self, claim: str) -> None:
        self.seeds.destroy(*self._seed_names(claim))

    def _seed_names(self, claim: str) -> tuple[str, str]:
        """Return a seed's name, which is no other ledger's in the same folder, and that of earlier versions."""
        return self._keyed("seed", claim), _name(claim)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.folder / ".lock"):
            yield


def _afford_delta(account: Account, claim: str, charge: Charge) -> None:
    allowed, after = account.terms.delta, account.delta_after(charge)
    if allowed is None:
        raise RefusedError(
            f"claim {claim} refused: it asks for delta {plain(charge.delta)}, and dataset {account.dataset} is "
            "registered under composition basic without a delta, so it admits pure DP only. Its terms are fixed; a "
            "dataset that is to be trained on under (epsilon, delta) is registered with --delta. Nothing was written"
        )
    if after > allowed:
        raise RefusedError(
            f"claim {claim} refused: it asks for delta {plain(charge.delta)}, which would bring dataset "
            f"{account.dataset} to {plain(after)} of its registered {plain(allowed)} (basic: deltas add up); spent "
            f"{plain(account.delta_spent)}. Lower the delta; nothing was written"
        )


def _name(claim: str) -> str:
    return hashlib.sha256(claim.encode()).hexdigest()[:32]


def _same(claim: str, have: dict[str, Any], want: dict[str, Any]) -> None:
    different = [
        f"{key} {have.get(key)} (asked: {want.get(key)})" for key in {**have, **want} if have.get(key) != want.get(key)
    ]
    if different:
        raise BadInputError(
            f"claim {claim} already stands for other parameters: {', '.join(different)}; use a new claim id"
        )
