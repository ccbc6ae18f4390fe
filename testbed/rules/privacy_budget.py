"""privacy-budget: what releases and training would spend, with what is spent already, stays within the policy's cap."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from contract.composition import Charge, delta_spent
from contract.composition import spent as composed
from contract.decimals import plain
from contract.partition import Partition
from testbed import contract as c
from testbed.argv import Grant, Register, Spend, UnprovenError, doubts, read
from testbed.edits import Edit
from testbed.manifests import Object, Path_, sequence
from testbed.rules.config import PrivacyBudget, Spent
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.volumes import Use, inside
from testbed.workloads import Pod

NAME = "privacy-budget"


@dataclass(frozen=True, eq=False)
class Claim:
    """One distinct claim and what it costs its dataset: a release, or a grant of a run's noisy training.

    Attributes:
        store: the raw volume.
        ledger: the ledger that it is charged to, ``NODE:FOLDER``.
        cost: with its part under a disjointness assertion.
        formerly: the id that ledgers of an earlier version have it under.
    """

    dataset: str
    store: str
    ledger: str
    name: str
    cost: Charge
    pod: Pod | None
    path: Path_ = ()
    formerly: str | None = None

    @property
    def part(self) -> str | None:
        """``SCHEME:INDEX`` under a disjointness assertion."""
        return None if self.cost.family is None else f"{self.cost.family}:{self.cost.part}"

    @property
    def line(self) -> str:
        """As a line of the sum."""
        delta = f" at delta {plain(self.cost.delta)}, training" if self.cost.run else ""
        where = f"{self.pod.owner.ref}" if self.pod else f"ledger {self.ledger}"
        part = f", part {self.part}" if self.part else ""
        return f"{plain(self.cost.epsilon)}{delta}  claim {self.name} ({where}{part})"

    @property
    def order(self) -> tuple[str, ...]:
        """Where its line stands."""
        return (self.part or "", self.name, self.ledger)


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
    claims: tuple[Claim, ...]

    @property
    def epsilon(self) -> Decimal:
        """What is spent of the budget."""
        return self.total.epsilon

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the sum."""
        return tuple(claim.line for claim in self.claims)


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
        self.claims: list[Claim] = []
        self.of_store: dict[str, list[Claim]] = defaultdict(list)
        self.made: list[tuple[Claim, Spend | Grant, str]] = []  # with the volume that they write to
        self.mechanisms: dict[str, set[str]] = defaultdict(set)
        self.found: list[Violation] = []
        self.private_labels: set[str] = set()  # stores whose labels a release keeps private
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
        before = len(self.claims)
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
                self._spend(pod, field_path, made)
        if len(self.claims) > before + 1:
            self.report(owner, pod.path("spec"), "one pod makes several claims", "declare one Job for each claim")

    def _register(self, owner: Object, path: Path_, made: Register) -> None:
        config = self.config
        self._protects(owner, path, made)
        if made.budget > config.budget:
            message = f"it registers a budget of {plain(made.budget)}; the policy allows {plain(config.budget)}"
            self.report(owner, path, message, f"set --budget {plain(config.budget)}")
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
            allowed = "none" if config.delta is None else plain(config.delta)
            repair = f"register delta {allowed}, or set privacy-budget.delta in the policy configuration"
            self.report(owner, path, f"it registers delta {plain(made.delta)}; the policy allows {allowed}", repair)

    def _protects(self, owner: Object, path: Path_, made: Register | Spend) -> None:
        """An epsilon is worth what it protects: both the release and the terms of the dataset say how much."""
        least, said = self.config.neighbourhood, made.neighbourhood
        if (said or 1) < least:
            what = "registers" if isinstance(made, Register) else "releases for"
            shown = "no neighbourhood" if said is None else f"a neighbourhood of {said} pixels"
            message = f"it {what} {shown}; the policy demands at least {least}"
            self.report(owner, path, message, f"set --neighbourhood {least} (kubeflower:privacy.neighbourhood)")

    def _place(self, pod: Pod, path: Path_, option: str, folder: str) -> tuple[str, str]:
        """The volume that holds a folder of a container, by its place, and the folder's own place."""
        holding = [use for use in self.uses[pod, path[:-1]] if inside(folder, use.mount_path)]
        if not holding:
            message = f"cannot prove which volume --{option} {folder} is on"
            self.report(pod.owner, path, message, f"mount the claim of --{option} there")
            return f"{pod.name}:{folder}", f"{pod.name}:{folder}"
        use = max(holding, key=lambda use: len(use.mount_path))
        storage, below = use.storage, f"{use.sub_path}/{posixpath.relpath(folder, use.mount_path)}"
        if storage.path is None:
            return storage.name, posixpath.normpath(f"{storage.name}{below}")
        nodes = f"{','.join(sorted(storage.nodes))}:" if storage.nodes else ""
        return f"{nodes}{storage.path}", f"{nodes}{posixpath.normpath(storage.path + below)}"

    def _spend(self, pod: Pod, path: Path_, made: Spend | Grant) -> None:
        owner, notes = pod.owner, pod.annotations
        store, _ = self._place(pod, path, "data", made.data)
        _, ledger = self._place(pod, path, "ledger", made.ledger)
        _, out = self._place(pod, path, "out", made.out)
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
        self._compare(pod, c.ANNOTATION_EPSILON, plain(made.cost.epsilon), "epsilon")
        if isinstance(made, Grant):
            self._compare(pod, c.ANNOTATION_DELTA, plain(made.cost.delta), "delta")
        self._compare(pod, c.ANNOTATION_MECHANISM, made.mechanism, "mechanism")
        self._compare(pod, c.ANNOTATION_CLAIM, made.claim, "claim")
        part = self._part(pod, path, made)
        family, index = (part.scheme, part.index) if part else (None, None)
        cost = replace(made.cost, family=family, part=index)
        former = made.formerly if isinstance(made, Spend) else None
        claim = Claim(dataset, store, ledger, made.claim, cost, pod, path, former)
        if isinstance(made, Spend):
            self._protects(owner, path, made)
            if made.labels == "private":
                self.private_labels.add(store)
        self.mechanisms[dataset].add(made.mechanism)
        for other in self.of_store[store]:
            if other.dataset != dataset:
                names = f"{other.dataset!r} and as {dataset!r}"
                message = f"the same raw volume is spent from as {names}: a new name does not reset a budget"
                self.report(owner, pod.annotation(c.ANNOTATION_DATASET), message, f"name the dataset {other.dataset}")
            if other.name == made.claim and other.cost != cost:
                self.report(
                    owner,
                    path,
                    f"claim {made.claim} is declared twice with other parameters",
                    "give each its own claim",
                )
        self.claims.append(claim)
        self.of_store[store].append(claim)
        self.made.append((claim, made, out))

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

    def _part(self, pod: Pod, path: Path_, made: Spend | Grant) -> Partition | None:
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
        return part

    def _dependent(self, pod: Pod, path: Path_) -> None:
        message = "a partition by labels is not independent of the data while labels are private"
        self.report(pod.owner, path, message, "use --partitioner iid, or public labels")

    def settle(self) -> list[Claim]:
        """Return every claim, once all pods are read: whether a part counts as one may depend on other pods."""
        return [self._settled(*one) for one in self.made]

    def _settled(self, claim: Claim, made: Spend | Grant, out: str) -> Claim:
        if not isinstance(made, Grant) or claim.pod is None:
            return claim
        problem = self._unlike_its_release(claim, made, out)
        if problem:
            repair = "declare the release that the run learns from, and give the grant its --data, dataset and part"
            self.report(claim.pod.owner, claim.path, problem, repair)
        elif claim.part and made.partition and made.partition.by_labels and claim.store in self.private_labels:
            self._dependent(claim.pod, claim.path)
        else:
            return claim
        return replace(claim, cost=replace(claim.cost, family=None, part=None))

    def _unlike_its_release(self, claim: Claim, grant: Grant, out: str) -> str | None:
        """Say how a grant and the releases on its private volume differ; None where every one agrees."""
        releases = [(other, made) for other, made, where in self.made if where == out and isinstance(made, Spend)]
        if not releases:
            return f"it grants a run on a release into {out}, which is not among the resources"
        for other, made in releases:
            for what, mine, theirs in (
                ("raw volume", claim.store, other.store),
                ("dataset", claim.dataset, other.dataset),
                ("part", _named(grant.partition), _named(made.partition)),
                ("assertion of disjointness", grant.disjoint, made.disjoint),
            ):
                if mine != theirs:
                    return f"it grants a run on {what} {mine}, but release {other.name} beside it is of {theirs}"
        return None


def _named(partition: Partition | None) -> str:
    return partition.name if partition else "all of it"


def _distinct(claims: Iterable[Claim]) -> list[Claim]:
    """Count a claim once within one ledger, and one that is declared there with two prices at both."""
    found: dict[tuple[object, ...], Claim] = {}
    for claim in claims:
        found.setdefault((claim.dataset, claim.ledger, claim.name, claim.cost), claim)
    return list(found.values())


def _with_ledgers(claims: list[Claim], config: PrivacyBudget) -> list[Claim]:
    """Add what ledgers hold and this deployment does not declare.

    A claim that is in both counts once, at the higher price, where both mean the same ledger. Another ledger, such as
    that of the node to which a client moves, knows nothing of the claim and charges it again.
    """
    found = list(claims)
    for dataset, ledgers in config.spent.items():
        for ledger, held in ledgers.items():
            for name, entry in held.items():
                cost = (entry if isinstance(entry, Spent) else Spent(epsilon=entry)).cost
                same = [
                    x.cost
                    for x in claims
                    if (x.dataset, x.ledger) == (dataset, ledger) and name in (x.name, x.formerly)
                ]
                if any(_no_less(x, cost) for x in same):
                    continue
                if same:  # two prices of one claim: neither is known to be of a part
                    cost = replace(cost, family=None, part=None)
                found.append(Claim(dataset, "", ledger, name, cost, None))
    return found


def _no_less(one: Charge, other: Charge) -> bool:
    return one.run == other.run and one.epsilon >= other.epsilon and one.delta >= other.delta


def _composed(claims: Iterable[Claim], config: PrivacyBudget) -> Total:
    """What claims come to on the record that loses most.

    The delta is the policy's own under ``advanced`` and ``zcdp``, and the deltas' sum under ``basic``. Datasets have
    families of parts of their own: a part of one says nothing about another.
    """
    costs = [
        claim.cost if claim.cost.family is None else replace(claim.cost, family=f"{claim.dataset} {claim.cost.family}")
        for claim in claims
    ]
    epsilon = composed(costs, config.composition, config.delta)
    return Total(epsilon, delta_spent(costs) if config.composition == "basic" else config.delta or Decimal(0))


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
    by_dataset: dict[str, list[Claim]] = defaultdict(list)
    for claim in _with_ledgers(_distinct(reader.settle()), config):
        by_dataset[claim.dataset].append(claim)
    found = []
    for dataset, mine in sorted(by_dataset.items()):
        training = [x for x in mine if x.cost.run]
        found.append(
            Account(
                dataset=dataset,
                total=_composed(mine, config),
                training=_composed(training, config) if training else None,
                budget=config.budget,
                mechanisms=tuple(sorted(reader.mechanisms[dataset])),
                claims=tuple(sorted(mine, key=lambda x: x.order)),
            )
        )
    return found, reader.found


def check(context: Context) -> list[Violation]:
    """Refuse what spends over the cap, or may."""
    config = context.config.budget
    found, problems = accounts(context)
    for account in found:
        problems += [*_over_budget(account, config), *_over_delta(account, config)]
    if len(found) > 1:
        problems += _over_testbed(found, config)
    return problems


def _over_testbed(accounts: Sequence[Account], config: PrivacyBudget) -> Iterator[Violation]:
    whole = _composed((claim for account in accounts for claim in account.claims), config).epsilon
    if whole > config.testbed:
        lines = (
            *(f"{plain(a.epsilon)}  dataset {a.dataset}" for a in accounts),
            f"= {plain(whole)}",
            f"budget {plain(config.testbed)}",
        )
        message = (
            f"the testbed would spend epsilon {plain(whole)} of {plain(config.testbed)} over {len(accounts)} datasets"
        )
        repair = "spend less; or, if no person is in two datasets, set testbedBudget in the policy configuration"
        yield violation(NAME, None, (), message, repair, witness=lines)


def _over_budget(account: Account, config: PrivacyBudget) -> Iterator[Violation]:
    if account.epsilon <= account.budget:
        return
    how = {"basic": "sum", "advanced": "advanced composition", "zcdp": "zCDP composition"}[config.composition]
    lines = (
        *account.lines,
        f"= {plain(account.epsilon)}  by {how}; the maximum over disjoint parts of one partition",
        f"budget {plain(account.budget)}",
    )
    message = f"dataset {account.dataset} would spend epsilon {plain(account.epsilon)} of {plain(account.budget)}"
    excess = plain(account.epsilon - account.budget)
    repair = f"spend less: bring the sum down by {excess}, or assert disjoint partitions if it is true"
    yield _of(account.claims, c.ANNOTATION_EPSILON, message, repair, lines)


def _over_delta(account: Account, config: PrivacyBudget) -> Iterator[Violation]:
    allowed = config.delta or Decimal(0)
    if config.composition != "basic" or account.total.delta <= allowed:
        return
    training = [claim for claim in account.claims if claim.cost.run]
    lines = (
        *(claim.line for claim in training),
        f"= delta {plain(account.total.delta)}  by sum; the maximum over disjoint parts of one partition",
        f"delta {plain(allowed)} allowed",
    )
    message = f"dataset {account.dataset} would spend delta {plain(account.total.delta)} of {plain(allowed)}"
    repair = (
        "give federation.training_dp a smaller delta, or remove it; or set privacy-budget.delta in the policy "
        "configuration"
    )
    yield _of(training, c.ANNOTATION_DELTA, message, repair, lines)


def _of(claims: Iterable[Claim], annotation: str, message: str, repair: str, lines: tuple[str, ...]) -> Violation:
    """A violation of the first claim that is declared here; of the testbed where the ledger holds them all."""
    pod = next((claim.pod for claim in claims if claim.pod), None)
    owner, path = (pod.owner, pod.annotation(annotation)) if pod else (None, ())
    return violation(NAME, owner, path, message, repair, witness=lines)
