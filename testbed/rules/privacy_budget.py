"""privacy-budget: what the declared releases would spend, with what is spent already, stays within the policy's cap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from testbed import contract as c
from testbed.argv import Register, Spend, UnprovenError, parse
from testbed.budget import compose, show
from testbed.edits import Edit
from testbed.manifests import Object, Path_, mapping, sequence
from testbed.rules.config import PrivacyBudget, Spent
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.workloads import Pod

NAME = "privacy-budget"
ENVIRONMENT = frozenset(["HOME", "TMPDIR", "TZ", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"])


@dataclass(frozen=True, eq=False)
class Charge:
    """One distinct release and what it costs its dataset."""

    dataset: str
    store: str  # the raw volume
    claim: str
    epsilon: Decimal
    part: str | None  # SCHEME:INDEX under a disjointness assertion
    pod: Pod | None
    path: Path_ = ()

    @property
    def line(self) -> str:
        """As a line of the sum."""
        where = f"{self.pod.owner.ref}" if self.pod else "ledger"
        part = f", part {self.part}" if self.part else ""
        return f"{show(self.epsilon)}  claim {self.claim} ({where}{part})"


@dataclass(frozen=True)
class Account:
    """The composed loss of one dataset."""

    dataset: str
    epsilon: Decimal
    budget: Decimal
    mechanisms: tuple[str, ...]
    lines: tuple[str, ...]


def releases(pod: Pod) -> bool:
    """Whether a pod is, or may be, a P3-VC release."""
    return pod.role == c.ROLE_P3VC or any(
        "release" in words and any("p3vc" in w for w in words) for words in _words(pod)
    )


def _words(pod: Pod) -> Iterator[list[str]]:
    for _, container in pod.containers():
        text = [str(a) for a in (*sequence(container.get("command")), *sequence(container.get("args")))]
        yield [word for argument in text for word in argument.split()]


class _Reader:
    """Reads the charges of P3-VC pods and reports what does not add up."""

    def __init__(self, context: Context) -> None:
        self.context, self.config = context, context.config.budget
        self.charges: list[Charge] = []
        self.of_store: dict[str, list[Charge]] = defaultdict(list)
        self.mechanisms: dict[str, set[str]] = defaultdict(set)
        self.found: list[Violation] = []
        self.stores: dict[tuple[Pod, str], str] = {}
        for use in context.uses:
            self.stores.setdefault((use.pod, use.mount_path), use.storage.path or use.storage.name)
            if use.storage.nodes:
                self.stores[use.pod, use.mount_path] = f"{','.join(sorted(use.storage.nodes))}:{use.storage.path}"

    def report(self, obj: Object, path: Path_, message: str, repair: str, edits: tuple[Edit, ...] = ()) -> None:
        self.found.append(violation(NAME, obj, path, message, repair, edits=edits))

    def read(self, pod: Pod) -> None:
        owner = pod.owner
        if owner.kind == "CronJob":
            self.report(
                owner,
                ("spec", "schedule"),
                "it releases again on every run: the spending is unbounded",
                "declare one Job for one release",
            )
        elif owner.kind not in ("Job", "Pod"):
            self.report(
                owner, ("kind",), f"a {owner.kind} starts releases without end", "declare one Job for one release"
            )
        before = len(self.charges)
        for path, container in pod.containers():
            self._environment(pod, path, container)
            for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if container.get(field):
                    self.report(owner, (*path, field), "cannot prove what this runs and spends", f"remove {field}")
            argv = [*sequence(container.get("command")), *sequence(container.get("args"))]
            field_path = (*path, "command" if container.get("command") else "args")
            try:
                if not container.get("command"):
                    raise UnprovenError("it names no command, so the image decides")
                made = parse(argv)
            except UnprovenError as error:
                self.report(
                    owner,
                    field_path,
                    f"cannot prove what it spends: {error}",
                    "run p3vc register or p3vc release with plain arguments",
                )
                continue
            if isinstance(made, Register):
                self._register(owner, field_path, made)
            elif isinstance(made, Spend):
                self._spend(pod, field_path, made)
        if len(self.charges) > before + 1:
            self.report(owner, pod.path("spec"), "one pod makes several releases", "declare one Job for each release")

    def _environment(self, pod: Pod, path: Path_, container: object) -> None:
        body = mapping(container)
        for index, entry in enumerate(sequence(body.get("env"))):
            one = mapping(entry)
            if one.get("name") not in ENVIRONMENT or "valueFrom" in one:
                field = (*path, "env", index)
                self.report(
                    pod.owner,
                    field,
                    f"cannot prove that {one.get('name')} changes nothing of what is spent",
                    "remove the variable",
                )
        if body.get("envFrom"):
            self.report(pod.owner, (*path, "envFrom"), "cannot prove what these variables change", "remove envFrom")

    def _register(self, owner: Object, path: Path_, made: Register) -> None:
        config = self.config
        if made.budget > config.budget:
            message = f"it registers a budget of {show(made.budget)}; the policy allows {show(config.budget)}"
            self.report(owner, path, message, f"set --budget {show(config.budget)}")
        if made.composition != config.composition:
            message = f"it registers composition {made.composition}; the policy composes by {config.composition}"
            self.report(owner, path, message, f"set --composition {config.composition}")
        if config.composition != "basic" and made.delta != config.delta:
            self.report(
                owner,
                path,
                f"it registers delta {made.delta}; the policy's is {config.delta}",
                f"set --delta {config.delta}",
            )

    def _spend(self, pod: Pod, path: Path_, made: Spend) -> None:
        owner, notes = pod.owner, pod.annotations
        dataset = notes.get(c.ANNOTATION_DATASET)
        if not isinstance(dataset, str) or not dataset:
            self.report(
                owner,
                pod.annotation(c.ANNOTATION_DATASET),
                "cannot prove which dataset it spends from",
                f"set {c.ANNOTATION_DATASET}",
            )
            dataset = f"unnamed ({pod.name})"
        if made.mechanism == "paper":
            self.report(
                owner, path, "mechanism paper carries no privacy claim, and a budget is set", "use --mechanism laplace"
            )
        self._compare(pod, c.ANNOTATION_EPSILON, show(made.total), "epsilon")
        self._compare(pod, c.ANNOTATION_MECHANISM, made.mechanism, "mechanism")
        self._compare(pod, c.ANNOTATION_CLAIM, made.claim, "claim")
        store = self.stores.get((pod, made.data), f"{pod.name}:{made.data}")
        part = self._part(pod, path, made)
        charge = Charge(dataset, store, made.claim, made.total, part, pod, path)
        self.mechanisms[dataset].add(made.mechanism)
        for other in self.of_store[store]:
            if other.dataset != dataset:
                names = f"{other.dataset!r} and as {dataset!r}"
                message = f"the same raw volume is spent from as {names}: a new name does not reset a budget"
                self.report(owner, pod.annotation(c.ANNOTATION_DATASET), message, f"name the dataset {other.dataset}")
            if other.claim == made.claim and (other.epsilon, other.part) != (
                charge.epsilon,
                part,
            ):
                self.report(
                    owner,
                    path,
                    f"claim {made.claim} is declared twice with other parameters",
                    "give each release its own claim",
                )
        self.charges.append(charge)
        self.of_store[store].append(charge)

    def _compare(self, pod: Pod, key: str, real: str, what: str) -> None:
        said = pod.annotations.get(key)
        same = said == real
        if what == "epsilon" and isinstance(said, str):
            try:
                same = Decimal(said) == Decimal(real)
            except InvalidOperation:
                same = False
        if not same:
            edit = Edit("set", pod.owner.key, pod.annotation(key), real)
            told = f"says {said!r}" if said is not None else "is missing"
            self.report(
                pod.owner,
                pod.annotation(key),
                f"it {told}, but the {what} of the argv is {real}",
                f"set it to {real}",
                (edit,),
            )

    def _part(self, pod: Pod, path: Path_, made: Spend) -> str | None:
        said_why = pod.annotations.get(c.ANNOTATION_DISJOINT)
        if said_why != made.disjoint:
            field = pod.annotation(c.ANNOTATION_DISJOINT)
            message = "the disjointness asserted in the annotation is not the one the argv records in the ledger"
            self.report(pod.owner, field, message, "make them equal, or drop both")
            return None
        said = pod.annotations.get(c.ANNOTATION_PARTITION)
        part = made.partition
        if made.disjoint is None:
            return None
        if part is None or said != f"{part.index}/{part.count}":
            real = f"{part.index}/{part.count}" if part else "none"
            self.report(
                pod.owner,
                pod.annotation(c.ANNOTATION_PARTITION),
                f"the assertion says part {said}, the argv releases part {real}",
                "make them equal, or drop the assertion",
            )
            return None
        if part.by_labels and made.labels == "private":
            self.report(
                pod.owner,
                path,
                "a partition by labels is not independent of the data while labels are private",
                "use --partitioner iid, or public labels",
            )
            return None
        return f"{part.scheme}:{part.index}"


def _distinct(charges: list[Charge]) -> list[Charge]:
    found: dict[tuple[str, str, str], Charge] = {}
    for charge in charges:
        key = (charge.dataset, charge.store, charge.claim)
        if key not in found or found[key].epsilon < charge.epsilon:
            found[key] = charge
    return list(found.values())


def _with_ledger(charges: list[Charge], config: PrivacyBudget) -> list[Charge]:
    """Add what the ledger holds and this deployment does not declare; a claim in both counts once, at the higher."""
    found = list(charges)
    for dataset, claims in config.spent.items():
        for claim, entry in claims.items():
            spent = entry if isinstance(entry, Spent) else Spent(epsilon=entry)
            same = [x for x in found if x.dataset == dataset and x.claim == claim]
            if not same:
                found.append(Charge(dataset, "ledger", claim, spent.epsilon, spent.part, None))
            elif max(x.epsilon for x in same) < spent.epsilon:
                found.append(Charge(dataset, "ledger", claim, spent.epsilon, None, None))
    return found


def _composed(charges: list[Charge], config: PrivacyBudget) -> Decimal:
    """Sum over schemes and undivided releases; the maximum over the parts of one scheme."""
    schemes: dict[str, dict[str, list[Decimal]]] = defaultdict(lambda: defaultdict(list))
    rest: list[Decimal] = []
    for charge in charges:
        if charge.part is None:
            rest.append(charge.epsilon)
        else:
            scheme, _, index = charge.part.rpartition(":")
            schemes[scheme][index].append(charge.epsilon)
    worst = list(rest)
    for parts in schemes.values():
        worst += max(parts.values(), key=lambda e: compose(e, config.composition, config.delta))
    return compose(worst, config.composition, config.delta)


def accounts(context: Context) -> tuple[list[Account], list[Violation]]:
    """The composed loss of each dataset, and what could not be read."""
    reader, config = _Reader(context), context.config.budget
    for pod in context.pods:
        if releases(pod):
            reader.read(pod)
    charges = _with_ledger(_distinct(reader.charges), config)
    by_dataset: dict[str, list[Charge]] = defaultdict(list)
    for charge in charges:
        by_dataset[charge.dataset].append(charge)
    found = []
    for dataset, mine in sorted(by_dataset.items()):
        lines = tuple(x.line for x in sorted(mine, key=lambda x: (x.part or "", x.claim, x.store)))
        mechanisms = tuple(sorted(reader.mechanisms[dataset]))
        found.append(Account(dataset, _composed(mine, config), config.budget, mechanisms, lines))
    return found, reader.found


def check(context: Context) -> list[Violation]:
    """Refuse what spends over the cap, or may."""
    config = context.config.budget
    if config.composition != "basic" and config.delta is None:
        message = f"the policy composes by {config.composition} and has no delta"
        return [
            violation(NAME, None, (), message, "set privacy-budget.delta in the policy configuration, such as 1e-5")
        ]
    found, problems = accounts(context)
    owners: dict[Any, Pod] = {}
    for pod in context.pods:
        if releases(pod):
            owners.setdefault(pod.annotations.get(c.ANNOTATION_DATASET), pod)
    how = {"basic": "sum", "advanced": "advanced composition", "zcdp": "zCDP composition"}[config.composition]
    for account in found:
        if account.epsilon > account.budget:
            owner = owners.get(account.dataset)
            lines = (
                *account.lines,
                f"= {show(account.epsilon)}  by {how}; the maximum over disjoint parts of one partition",
                f"budget {show(account.budget)}",
            )
            message = f"dataset {account.dataset} would spend epsilon {show(account.epsilon)} of {show(account.budget)}"
            excess = show(account.epsilon - account.budget)
            repair = f"release less: bring the sum down by {excess}, or assert disjoint partitions if it is true"
            path = owner.annotation(c.ANNOTATION_EPSILON) if owner else ()
            problems.append(violation(NAME, owner.owner if owner else None, path, message, repair, witness=lines))
    total = sum((a.epsilon for a in found), Decimal(0))
    if len(found) > 1 and total > config.testbed:
        lines = (
            *(f"{show(a.epsilon)}  dataset {a.dataset}" for a in found),
            f"= {show(total)}",
            f"budget {show(config.testbed)}",
        )
        message = f"the testbed would spend epsilon {show(total)} of {show(config.testbed)} over {len(found)} datasets"
        repair = "release less; or, if no person is in two datasets, set testbedBudget in the policy configuration"
        problems.append(violation(NAME, None, (), message, repair, witness=lines))
    return problems
