"""What a data owner fixed, and what may be asked of it later: checks on an account, which change nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from contract.decimals import INFINITE, plain
from p3vc.account import Account, Terms
from p3vc.errors import BadInputError, RefusedError
from p3vc.invariants import Invariants
from p3vc.places import reaches


def meaningful(terms: Terms, records: int) -> None:
    """Refuse a delta under which a record may be shown whole.

    Raises:
        BadInputError: it is one in as many as there are records, or more.
    """
    if terms.delta is not None and terms.delta * records >= 1:
        raise BadInputError(
            f"--delta {terms.delta}: the dataset has {records} records, and a delta of 1/{records} or more would let "
            "one of them be shown whole; it must be well below, for example 1e-5 or less"
        )


def unclaimed(data: Path, accounts: Iterable[Account], ledger: Path) -> None:
    """Refuse a new account that would give the records of another, or their successors, a second budget.

    Raises:
        RefusedError: the data path is, lies in or holds that of an account that its owner has not replaced.
    """
    for account in accounts:
        if account.replaced:
            continue
        taken = next((known.path for known in account.places if reaches(data, known)), None)
        if taken is None and account.places:
            continue
        where = f"lies at {taken}" if taken else "was registered before ledgers said where data lies"
        raise RefusedError(
            f"--data {data}: its records are not those of dataset {account.dataset}, which {where}. One data path is "
            "one account with one budget: name the raw folder itself, as it was registered. If its records are other "
            f"people's now, their owner begins a new dataset: p3vc owner begin --ledger {ledger} --dataset "
            f"{account.dataset} --who NAME --why REASON. Nothing was registered"
        )


def confirm(account: Account, terms: Terms, invariants: Invariants, ledger: Path) -> None:
    """Compare asked terms with the registered ones.

    A budget or delta that the account ever had is a right one to name: an owner's raise strands no testbed that
    declares the one before. A stricter neighbourhood is no other term, if it is true of what was spent.

    Raises:
        BadInputError: other terms.
        RefusedError: a claim protects fewer pixels than the neighbourhood that is asked for.
    """
    have = {**account.terms.as_json(), **account.invariants.as_json()}
    want = {**terms.as_json(), **invariants.as_json()}
    if terms.budget in account.budgets:
        want["budget"] = have["budget"]
    if terms.delta in account.deltas:
        want["delta"] = have["delta"]
    stricter = stricter_neighbourhood(account, terms)
    if stricter is not None or terms.neighbourhood is None:
        want["neighbourhood"] = have["neighbourhood"]
    different = [f"{key} {have[key]} (asked: {want[key]})" for key in have if have[key] != want[key]]
    if different:
        hint = ""
        if terms.budget > account.terms.budget:
            hint = (
                f". A larger budget is its owner's to give: p3vc owner raise --ledger {ledger} --dataset "
                f"{account.dataset} --budget {plain(terms.budget)} --who NAME --why REASON"
            )
        raise BadInputError(
            f"dataset {account.dataset} is already registered with {', '.join(different)}; the terms of a dataset "
            f"are fixed once: ask for the registered ones{hint}"
        )
    below = {name: one.neighbourhood for name, one in account.claims.items() if one.neighbourhood < (stricter or 0)}
    if below:
        name, least = min(below.items(), key=lambda item: item[1])
        raise RefusedError(
            f"--neighbourhood {stricter}: every claim on dataset {account.dataset} would have to protect {stricter} "
            f"pixels, and claim {name} protects {least:g}. Ask for what was registered, or for that; nothing changed"
        )


def stricter_neighbourhood(account: Account, terms: Terms) -> int | None:
    """Return the neighbourhood that is asked for where it is above the registered one, or there was none."""
    least, asked = account.terms.neighbourhood, terms.neighbourhood
    return asked if asked is not None and (least is None or asked > least) else None


def raised(account: Account, asked: dict[str, Decimal]) -> dict[str, str]:
    """Return what an owner raises, in the form that the ledger holds.

    Raises:
        BadInputError: nothing is named, it is not above the present one, or the delta is not the owner's to raise.
        RefusedError: no budget means anything any more.
    """
    terms = account.terms
    if account.spent == INFINITE:
        raise RefusedError(
            f"dataset {account.dataset} has had a release without a DP claim, so its loss is unbounded and no budget "
            "means anything any more; nothing was changed"
        )
    if not asked:
        raise BadInputError("owner raise: names nothing to raise; give --budget, --delta or both")
    for key, value in asked.items():
        have = getattr(terms, key)
        if have is not None and value <= have:
            raise BadInputError(
                f"--{key} {plain(value)}: dataset {account.dataset} has {plain(have)} already; name a larger one, or "
                "close the dataset: what was given is never taken back"
            )
    if "delta" in asked:
        if terms.composition != "basic":
            raise BadInputError(
                f"--delta: under composition {terms.composition} it is the delta of every figure so far and stays "
                f"{terms.delta}; raise the budget alone"
            )
        meaningful(dataclasses.replace(terms, delta=asked["delta"]), account.invariants.records)
    return {key: plain(value) for key, value in asked.items()}


def ended(account: Account) -> str:
    """Say who ended an account, when and why; nothing while it is open."""
    one = account.closed
    if one is None:
        return ""
    word = "closed it" if one.action == "close" else "began a new dataset in its place"
    return f"admits no new claim: {one.who} {word} on {one.time} ({one.why})"
