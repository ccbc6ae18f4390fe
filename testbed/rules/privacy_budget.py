"""privacy-budget: what releases and training would spend, with what is spent already, stays within the policy's cap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from testbed import contract as c
from testbed.argv import Grant, Register, Spend, UnprovenError, doubts, read
from testbed.budget import Loss, compose, show, total
from testbed.edits import Edit
from testbed.manifests import Object, Path_, sequence
from testbed.rules.config import PrivacyBudget, Spent
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.volumes import Use, inside
from testbed.workloads import Pod

NAME = "privacy-budget"


@dataclass(frozen=True, eq=False)
class Charge:
    """One distinct claim and what it costs its dataset: a release, or with a delta a run's noisy training."""

    dataset: str
    store: str  # the raw volume
    claim: str
    loss: Loss
    part: str | None  # SCHEME:INDEX under a disjointness assertion
    pod: Pod | None
    path: Path_ = ()

    @property
    def line(self) -> str:
        """As a line of the sum."""
        delta = f" at delta {show(self.loss.delta)}, training" if self.loss.delta else ""
        where = f"{self.pod.owner.ref}" if self.pod else "ledger"
        part = f", part {self.part}" if self.part else ""
        return f"{show(self.loss.epsilon)}{delta}  claim {self.claim} ({where}{part})"

    @property
    def order(self) -> tuple[str, ...]:
        """Where its line stands."""
        return (self.part or "", self.claim, self.store)


@dataclass(frozen=True)
class Total:
    """What charges come to: an epsilon, and the delta beside which it holds."""

    epsilon: Decimal
    delta: Decimal


@dataclass(frozen=True)
class Account:
    """The composed loss of one dataset.

    Attributes:
        training: of ``total``, what noisy training alone comes to by the same rule; None where there is none.
    """

    dataset: str
    total: Total
    training: Total | None
    budget: Decimal
    mechanisms: tuple[str, ...]
    charges: tuple[Charge, ...]

    @property
    def epsilon(self) -> Decimal:
        """What is spent of the budget."""
        return self.total.epsilon

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the sum."""
        return tuple(charge.line for charge in self.charges)


def spends(pod: Pod) -> bool:
    """Whether a pod is, or may be, a P3-VC that charges a dataset."""
    return pod.role == c.ROLE_P3VC or any(
        ("release" in words or "grant" in words) and any("p3vc" in w for w in words) for words in _words(pod)
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
        self.private_labels: set[str] = set()  # stores whose labels a release keeps private
        self.by_labels: list[Charge] = []  # of grants, which do not say whether labels are public
        self.uses: dict[tuple[Pod, Path_], list[Use]] = defaultdict(list)
        for use in context.uses:
            self.uses[use.pod, use.container].append(use)

    def report(self, obj: Object, path: Path_, message: str, repair: str, edits: tuple[Edit, ...] = ()) -> None:
        self.found.append(violation(NAME, obj, path, message, repair, edits=edits))

    def read(self, pod: Pod) -> None:
        owner = pod.owner
        if owner.kind == "CronJob":
            self.report(
                owner,
                ("spec", "schedule"),
                "it spends again on every run, without bound",
                "declare one Job for one claim",
            )
        elif owner.kind not in ("Job", "Pod"):
            self.report(
                owner, ("kind",), f"a {owner.kind} starts the P3-VC without end", "declare one Job for one claim"
            )
        before = len(self.charges)
        for path, container in pod.containers():
            for field, message, repair in doubts(container):
                self.report(owner, (*path, *field), message, repair)
            field_path = (*path, "command" if container.get("command") else "args")
            try:
                made = read(container)
            except UnprovenError as error:
                self.report(
                    owner,
                    field_path,
                    f"cannot prove what it spends: {error}",
                    "run p3vc register, release or grant with plain arguments",
                )
                continue
            if isinstance(made, Register):
                self._register(owner, field_path, made)
            elif isinstance(made, (Spend, Grant)):
                self._spend(pod, field_path, made, self._store(pod, field_path, made.data))
        if len(self.charges) > before + 1:
            self.report(owner, pod.path("spec"), "one pod makes several claims", "declare one Job for each claim")

    def _register(self, owner: Object, path: Path_, made: Register) -> None:
        config = self.config
        self._protects(owner, path, made)
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
        if config.composition == "basic" and made.delta is not None and made.delta > (config.delta or 0):
            allowed = "none" if config.delta is None else show(config.delta)
            repair = f"register delta {allowed}, or set privacy-budget.delta in the policy configuration"
            self.report(owner, path, f"it registers delta {show(made.delta)}; the policy allows {allowed}", repair)

    def _protects(self, owner: Object, path: Path_, made: Register | Spend) -> None:
        """An epsilon is worth what it protects: both the release and the terms of the dataset say how much."""
        least, said = self.config.neighbourhood, made.neighbourhood
        if (said or 1) < least:
            what = "registers" if isinstance(made, Register) else "releases for"
            shown = "no neighbourhood" if said is None else f"a neighbourhood of {said} pixels"
            message = f"it {what} {shown}; the policy demands at least {least}"
            self.report(owner, path, message, f"set --neighbourhood {least} (kubeflower:privacy.neighbourhood)")

    def _store(self, pod: Pod, path: Path_, data: str) -> str:
        """The volume that holds a folder in a container, by its place."""
        holding = [use for use in self.uses[pod, path[:-1]] if inside(data, use.mount_path)]
        if not holding:
            message = f"cannot prove which volume --data {data} is on"
            self.report(pod.owner, path, message, "mount the raw volume's claim there")
            return f"{pod.name}:{data}"
        storage = max(holding, key=lambda use: len(use.mount_path)).storage
        if storage.nodes:
            return f"{','.join(sorted(storage.nodes))}:{storage.path}"
        return storage.path or storage.name

    def _spend(self, pod: Pod, path: Path_, made: Spend | Grant, store: str) -> None:
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
        self._compare(pod, c.ANNOTATION_EPSILON, show(made.loss.epsilon), "epsilon")
        if isinstance(made, Grant):
            self._compare(pod, c.ANNOTATION_DELTA, show(made.loss.delta), "delta")
        self._compare(pod, c.ANNOTATION_MECHANISM, made.mechanism, "mechanism")
        self._compare(pod, c.ANNOTATION_CLAIM, made.claim, "claim")
        part = self._part(pod, path, made)
        charge = Charge(dataset, store, made.claim, made.loss, part, pod, path)
        if isinstance(made, Spend):
            self._protects(owner, path, made)
            if made.labels == "private":
                self.private_labels.add(store)
        if isinstance(made, Grant) and part and made.partition and made.partition.by_labels:
            self.by_labels.append(charge)
        self.mechanisms[dataset].add(made.mechanism)
        for other in self.of_store[store]:
            if other.dataset != dataset:
                names = f"{other.dataset!r} and as {dataset!r}"
                message = f"the same raw volume is spent from as {names}: a new name does not reset a budget"
                self.report(owner, pod.annotation(c.ANNOTATION_DATASET), message, f"name the dataset {other.dataset}")
            if other.claim == made.claim and (other.loss, other.part) != (made.loss, part):
                self.report(
                    owner,
                    path,
                    f"claim {made.claim} is declared twice with other parameters",
                    "give each its own claim",
                )
        self.charges.append(charge)
        self.of_store[store].append(charge)

    def _compare(self, pod: Pod, key: str, real: str, what: str) -> None:
        said = pod.annotations.get(key)
        same = said == real
        if what in ("epsilon", "delta") and isinstance(said, str):
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

    def _part(self, pod: Pod, path: Path_, made: Spend | Grant) -> str | None:
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
                f"the assertion says part {said}, the argv spends from part {real}",
                "make them equal, or drop the assertion",
            )
            return None
        if part.by_labels and isinstance(made, Spend) and made.labels == "private":
            self._dependent(pod, path)
            return None
        return f"{part.scheme}:{part.index}"

    def _dependent(self, pod: Pod, path: Path_) -> None:
        message = "a partition by labels is not independent of the data while labels are private"
        self.report(pod.owner, path, message, "use --partitioner iid, or public labels")

    def settle(self) -> list[Charge]:
        """Return every charge, once all pods are read: a grant is of a part by labels only while they are public."""
        doubtful = [x for x in self.by_labels if x.store in self.private_labels]
        for charge in doubtful:
            if charge.pod:
                self._dependent(charge.pod, charge.path)
        return [replace(x, part=None) if x in doubtful else x for x in self.charges]


def _distinct(charges: Iterable[Charge]) -> list[Charge]:
    """Count a claim once, and one that is declared with two prices at both."""
    found: dict[tuple[object, ...], Charge] = {}
    for charge in charges:
        found.setdefault((charge.dataset, charge.store, charge.claim, charge.loss, charge.part), charge)
    return list(found.values())


def _with_ledger(charges: list[Charge], config: PrivacyBudget) -> list[Charge]:
    """Add what the ledger holds and this deployment does not declare; a claim in both counts once, at the higher."""
    found = list(charges)
    for dataset, claims in config.spent.items():
        for claim, entry in claims.items():
            spent = entry if isinstance(entry, Spent) else Spent(epsilon=entry)
            same = [x.loss for x in found if x.dataset == dataset and x.claim == claim]
            if any(x.epsilon >= spent.epsilon and x.delta >= spent.loss.delta for x in same):
                continue
            found.append(Charge(dataset, "ledger", claim, spent.loss, None if same else spent.part, None))
    return found


def _composed(charges: Iterable[Charge], config: PrivacyBudget) -> Total:
    """Sum over schemes and undivided claims; the maximum over the parts of one scheme.

    The delta is the policy's own under ``advanced`` and ``zcdp``. Under ``basic`` it is the deltas' sum, in which a
    scheme counts with its largest, as it does with its dearest epsilon: of one part or of two.
    """
    schemes: dict[str, dict[str, list[Loss]]] = defaultdict(lambda: defaultdict(list))
    worst: list[Loss] = []
    for charge in charges:
        if charge.part is None:
            worst.append(charge.loss)
        else:
            scheme, _, index = charge.part.rpartition(":")
            schemes[scheme][index].append(charge.loss)
    deltas = [loss.delta for loss in worst]
    for parts in schemes.values():
        worst += max(parts.values(), key=lambda losses: compose(losses, config.composition, config.delta))
        deltas.append(max(total(loss.delta for loss in losses) for losses in parts.values()))
    epsilon = compose(worst, config.composition, config.delta)
    return Total(epsilon, total(deltas) if config.composition == "basic" else config.delta or Decimal(0))


def accounts(context: Context) -> tuple[list[Account], list[Violation]]:
    """The composed loss of each dataset, and what could not be read."""
    reader, config = _Reader(context), context.config.budget
    if config.composition != "basic" and config.delta is None:
        message = f"the policy composes by {config.composition} and has no delta"
        repair = "set privacy-budget.delta in the policy configuration, such as 1e-5"
        return [], [violation(NAME, None, (), message, repair)]
    for pod in context.pods:
        if spends(pod):
            reader.read(pod)
    charges = _with_ledger(_distinct(reader.settle()), config)
    by_dataset: dict[str, list[Charge]] = defaultdict(list)
    for charge in charges:
        by_dataset[charge.dataset].append(charge)
    found = []
    for dataset, mine in sorted(by_dataset.items()):
        training = [x for x in mine if x.loss.delta]
        found.append(
            Account(
                dataset=dataset,
                total=_composed(mine, config),
                training=_composed(training, config) if training else None,
                budget=config.budget,
                mechanisms=tuple(sorted(reader.mechanisms[dataset])),
                charges=tuple(sorted(mine, key=lambda x: x.order)),
            )
        )
    return found, reader.found


def check(context: Context) -> list[Violation]:
    """Refuse what spends over the cap, or may."""
    config = context.config.budget
    found, problems = accounts(context)
    for account in found:
        problems += [*_over_budget(account, config), *_over_delta(account, config)]
    whole = total(account.epsilon for account in found)
    if len(found) > 1 and whole > config.testbed:
        lines = (
            *(f"{show(a.epsilon)}  dataset {a.dataset}" for a in found),
            f"= {show(whole)}",
            f"budget {show(config.testbed)}",
        )
        message = f"the testbed would spend epsilon {show(whole)} of {show(config.testbed)} over {len(found)} datasets"
        repair = "spend less; or, if no person is in two datasets, set testbedBudget in the policy configuration"
        problems.append(violation(NAME, None, (), message, repair, witness=lines))
    return problems


def _over_budget(account: Account, config: PrivacyBudget) -> Iterator[Violation]:
    if account.epsilon <= account.budget:
        return
    how = {"basic": "sum", "advanced": "advanced composition", "zcdp": "zCDP composition"}[config.composition]
    lines = (
        *account.lines,
        f"= {show(account.epsilon)}  by {how}; the maximum over disjoint parts of one partition",
        f"budget {show(account.budget)}",
    )
    message = f"dataset {account.dataset} would spend epsilon {show(account.epsilon)} of {show(account.budget)}"
    excess = show(account.epsilon - account.budget)
    repair = f"spend less: bring the sum down by {excess}, or assert disjoint partitions if it is true"
    yield _of(account.charges, c.ANNOTATION_EPSILON, message, repair, lines)


def _over_delta(account: Account, config: PrivacyBudget) -> Iterator[Violation]:
    allowed = config.delta or Decimal(0)
    if config.composition != "basic" or account.total.delta <= allowed:
        return
    training = [charge for charge in account.charges if charge.loss.delta]
    lines = (
        *(charge.line for charge in training),
        f"= delta {show(account.total.delta)}  by sum; the maximum over disjoint parts of one partition",
        f"delta {show(allowed)} allowed",
    )
    message = f"dataset {account.dataset} would spend delta {show(account.total.delta)} of {show(allowed)}"
    repair = (
        "give federation.training_dp a smaller delta, or remove it; or set privacy-budget.delta in the policy "
        "configuration"
    )
    yield _of(training, c.ANNOTATION_DELTA, message, repair, lines)


def _of(charges: Iterable[Charge], annotation: str, message: str, repair: str, lines: tuple[str, ...]) -> Violation:
    """A violation of the first charge that is declared here; of the testbed where the ledger holds them all."""
    pod = next((charge.pod for charge in charges if charge.pod), None)
    owner, path = (pod.owner, pod.annotation(annotation)) if pod else (None, ())
    return violation(NAME, owner, path, message, repair, witness=lines)
