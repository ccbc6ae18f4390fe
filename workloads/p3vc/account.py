"""One dataset's account: its terms, and its claims replayed from the ledger's entries."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from contract.composition import Charge, Composition, delta_spent, spent
from contract.decimals import INFINITE, UNBOUNDED, plain
from p3vc.chain import Chain
from p3vc.errors import BadInputError
from p3vc.invariants import Invariants
from p3vc.places import Known

REPLACE_ONE = "one record is replaced"  # the one relation that every claim here is about (sensitivity.py)


@dataclass(frozen=True)
class Terms:
    """What the data owner allows: fixed once, at registration; only the owner raises budget or delta later.

    Attributes:
        budget: epsilon of the dataset for ever.
        delta: under ``basic`` what Gaussian claims may add up to, else that of the figures.
        neighbourhood: pixels that every release must protect at least; None where it was registered without.
        relation: between the datasets that a claim tells apart.
    """

    budget: Decimal
    composition: Composition
    delta: Decimal | None
    on_violation: str
    neighbourhood: int | None = None
    relation: str = REPLACE_ONE

    def as_json(self) -> dict[str, Any]:
        """Return the form that the ledger holds."""
        return {
            "budget": plain(self.budget),
            "composition": self.composition,
            "delta": None if self.delta is None else plain(self.delta),
            "on_violation": self.on_violation,
            "neighbourhood": self.neighbourhood,
            "relation": self.relation,
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> Terms:
        """Read what ``as_json`` wrote, now or before there was a neighbourhood or a relation."""
        delta = None if value["delta"] is None else Decimal(value["delta"])
        fixed = Decimal(value["budget"]), value["composition"], delta, value["on_violation"]
        return Terms(*fixed, value.get("neighbourhood"), value.get("relation", REPLACE_ONE))


@dataclass(frozen=True)
class Decision:
    """What a data owner decided of an account after its registration: ``raise``, ``close`` or ``begin`` anew."""

    action: str
    who: str
    why: str
    time: str

    def as_json(self) -> dict[str, str]:
        """Return the form that reports hold."""
        return asdict(self)


@dataclass
class Claim:
    """Where a claim stands: ``reserved``, ``committed`` or ``complete``.

    Attributes:
        parameters: everything that it stands for.
        disjoint: the assertion under which a part is charged in parallel, in the data owner's words.
        settled: number of lines that the ledger had once its charge was for good; None while it is reserved.
        commitment: SHA-256 of the seed of its noise.
        manifest: digest of what it released.
    """

    parameters: dict[str, Any]
    charge: Charge
    disjoint: str | None = None
    status: str = "reserved"
    settled: int | None = None
    commitment: str | None = None
    manifest: str | None = None

    @property
    def neighbourhood(self) -> float:
        """Pixels that it protects: all where its noise is for whole records, none where it makes no claim."""
        if self.charge.epsilon == INFINITE:
            return 0
        return float(self.parameters.get("neighbourhood", "inf"))


@dataclass
class Account:
    """One dataset's ledger, replayed from its chain."""

    chain: Chain
    dataset: str = ""
    terms: Terms = field(default_factory=lambda: Terms(Decimal(0), "basic", None, "refuse"))
    invariants: Invariants = field(default_factory=lambda: Invariants(0, (0, 0, 0), 0))
    violations: dict[str, int] = field(default_factory=dict)
    classes_declared: bool = False  # the data owner named the label set; else it was taken from the labels
    key_check: str | None = None  # of the ledger's key; none was written before there was one
    fingerprints: set[str] = field(default_factory=set)  # keyed; those from before they were match nothing
    claims: dict[str, Claim] = field(default_factory=dict)
    places: list[Known] = field(default_factory=list)  # of the data; none was written before one path was one account
    decisions: list[Decision] = field(default_factory=list)
    budgets: list[Decimal] = field(default_factory=list)  # the registered one and those it was raised to
    deltas: list[Decimal | None] = field(default_factory=list)

    @property
    def closed(self) -> Decision | None:
        """The owner's latest decision that ended the account, if any."""
        return next((one for one in reversed(self.decisions) if one.action in ("close", "begin")), None)

    @property
    def replaced(self) -> bool:
        """Whether the owner lets other records at its data path be a new dataset."""
        return self.closed is not None and self.closed.action == "begin"

    @property
    def charges(self) -> list[Charge]:
        """Everything reserved, committed or complete."""
        return [claim.charge for claim in self.claims.values()]

    @property
    def spent(self) -> Decimal:
        """Epsilon spent under the registered rule."""
        return self.after()

    @property
    def delta_spent(self) -> Decimal:
        """Delta of the Gaussian charges, which ``basic`` bounds by the registered one."""
        return delta_spent(self.charges)

    @property
    def remaining(self) -> Decimal:
        """What is left of the budget."""
        return max(Decimal(0), self.terms.budget - self.spent)

    @property
    def private_labels(self) -> list[str]:
        """The claims that released, or may have released, private labels."""
        return [name for name, claim in self.claims.items() if claim.parameters.get("label_epsilon") is not None]

    def after(self, *charges: Charge) -> Decimal:
        """Return what would be spent after further charges."""
        return spent([*self.charges, *charges], self.terms.composition, self.terms.delta)

    def delta_after(self, *charges: Charge) -> Decimal:
        """Return the delta of the Gaussian charges after further ones."""
        return delta_spent([*self.charges, *charges])

    def apply(self, line: int, entry: dict[str, Any]) -> None:
        """Replay one entry, the ``line``-th of its chain, counted from 1."""
        kind, name = entry["type"], entry.get("claim", "")
        if kind == "register":
            self._register(entry)
        elif kind == "declare":
            self.classes_declared = True
        elif kind == "reserve":
            epsilon = INFINITE if entry["epsilon"] == UNBOUNDED else Decimal(entry["epsilon"])
            family = entry["parallel"] or {"family": None, "part": None}
            charge = Charge(epsilon, family=family["family"], part=family["part"])
            if "rho" in entry:  # Gaussian noise; entries of releases have neither
                delta, rho = Decimal(entry["delta"]), Decimal(entry["rho"])
                charge = replace(charge, delta=delta, rho=rho, run=entry["parameters"]["grant"])
            self.claims[name] = Claim(entry["parameters"], charge, entry.get("disjoint"))
        elif kind == "commit":
            self.claims[name].status, self.claims[name].commitment = "committed", entry.get("seed_sha256")
            self.claims[name].settled = line
        elif kind == "complete":
            self.claims[name].status, self.claims[name].manifest = "complete", entry["manifest"]
        elif kind == "neighbourhood":
            self.terms = replace(self.terms, neighbourhood=entry["neighbourhood"])
        elif kind == "owner":
            self._decide(entry)
        elif kind == "cancel":
            del self.claims[name]
        elif kind != "seen":
            raise BadInputError(
                f"{self.chain.path}: entry of unknown type {kind!r}: written by a newer p3vc; use that one"
            )
        if "data" in entry:
            self.places.append(Known(entry["data"]["path"], entry["data"]["device"], entry["data"]["inode"]))
        if "fingerprint" in entry:
            self.fingerprints.add(entry["fingerprint"])
            self.key_check = entry.get("key_check", self.key_check)

    def _register(self, entry: dict[str, Any]) -> None:
        self.dataset, self.terms = entry["dataset"], Terms.from_json(entry["terms"])
        self.invariants, self.violations = Invariants.from_json(entry["invariants"]), entry["violations"]
        self.classes_declared = entry.get("classes_declared", False)
        self.budgets, self.deltas = [self.terms.budget], [self.terms.delta]
        if self.terms.relation != REPLACE_ONE:
            raise BadInputError(f"{self.chain.path}: is about another relation: written by a newer p3vc; use that one")

    def _decide(self, entry: dict[str, Any]) -> None:
        self.decisions.append(Decision(entry["action"], entry["who"], entry["why"], entry["time"]))
        if entry["action"] == "raise":
            terms = Terms.from_json({**self.terms.as_json(), **entry["terms"]})
            self.terms = terms
            self.budgets.append(terms.budget)
            self.deltas.append(terms.delta)

    def append(self, entry: dict[str, Any]) -> None:
        """Write an entry durably, then replay it."""
        timed = {**entry, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        self.chain.append(timed)
        self.apply(len(self.chain.entries), timed)
