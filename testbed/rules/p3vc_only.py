"""p3vc-only: raw data is read by its own client's P3-VC alone, and leaves a client's node as a release."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from testbed import contract as c
from testbed.argv import Grant, Spend, UnprovenError, Verify, parse
from testbed.edits import Edit
from testbed.manifests import Path_, mapping, sequence
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.volumes import Use, unused
from testbed.workloads import Pod

NAME = "p3vc-only"


def _claims(pod: Pod) -> Iterator[Spend | Grant]:
    """What a P3-VC pod claims of its client's data: a release, or the consent to a run; either reads the raw data."""
    for _, container in pod.containers():
        try:
            made = parse([*sequence(container.get("command")), *sequence(container.get("args"))])
        except UnprovenError:
            continue
        if isinstance(made, (Spend, Grant)):
            yield made


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


class _Judge:
    def __init__(self, context: Context) -> None:
        self.context, self.found = context, []  # type: tuple[Context, list[Violation]]
        self.uses: dict[Pod, list[Use]] = defaultdict(list)
        for use in context.uses:
            self.uses[use.pod].append(use)
        # What each client's own P3-VC reads and writes, and the releases a client may start from.
        self.raw: dict[str, list[Use]] = defaultdict(list)
        self.private: dict[str, list[Use]] = defaultdict(list)
        self.releases: dict[str, set[str]] = defaultdict(set)
        for pod in context.pods:
            if pod.role != c.ROLE_P3VC or not pod.client:
                continue
            for made in _claims(pod):
                if isinstance(made, Spend):
                    self.releases[pod.client].add(made.claim)
                for use in self.uses[pod]:
                    if _inside(made.data, use.mount_path) or _inside(made.ledger, use.mount_path):
                        self.raw[pod.client].append(use)
                    elif isinstance(made, Spend) and _inside(made.out, use.mount_path):
                        self.private[pod.client].append(use)

    def report(self, pod: Pod, path: Path_, message: str, repair: str, edits: tuple[Edit, ...] = ()) -> None:
        self.found.append(violation(NAME, pod.owner, path, message, repair, edits=edits))

    def p3vc(self, pod: Pod) -> None:
        if not pod.client:
            self.report(
                pod, pod.path("metadata", "labels"), "a P3-VC job belongs to no client", f"set {c.LABEL_CLIENT}"
            )
        claims = list(_claims(pod))
        outs, data = [made.out for made in claims], [made.data for made in claims]
        for made in claims:
            if _inside(made.out, made.data) or _inside(made.data, made.out):
                self.report(
                    pod,
                    pod.path("spec"),
                    "it writes into the folder of the raw data",
                    "give --out a volume of its own",
                )
        for use in self.uses[pod]:
            if any(_inside(use.mount_path, d) for d in data) and not use.read_only:
                self.report(
                    pod,
                    use.path,
                    "it can change the raw data",
                    "mount it readOnly: true",
                    (Edit("set", pod.owner.key, (*use.path, "readOnly"), True),),
                )
        raw = [u for u in self.uses[pod] if not any(_inside(o, u.mount_path) for o in outs)]
        for use in self.uses[pod]:
            if any(_inside(o, use.mount_path) for o in outs) and any(self._overlap(use, r) for r in raw):
                self.report(
                    pod, use.volume, "raw and private data are on one volume", "release into a volume of its own"
                )

    @staticmethod
    def _overlap(one: Use, other: Use) -> bool:
        return one.storage.overlaps(other.storage)

    def client(self, pod: Pod) -> None:
        client = pod.client or ""
        for use in self.uses[pod]:
            if any(use.storage.overlaps(r.storage) for r in self.raw[client]):
                self.report(pod, use.path, f"client {client} mounts its raw data", "mount the private volume alone")
            elif not any(use.storage.name == p.storage.name for p in self.private[client]):
                self.report(
                    pod,
                    use.path,
                    f"client {client} mounts {use.storage.name}, which no release of its own wrote",
                    "mount the private volume of its own P3-VC release alone",
                )
            if not use.read_only:
                edit = Edit("set", pod.owner.key, (*use.path, "readOnly"), True)
                self.report(pod, use.path, "a client can change its private data", "mount it readOnly: true", (edit,))
        self._gate(pod)

    def _gate(self, pod: Pod) -> None:
        client = pod.client or ""
        where = pod.path("spec", "initContainers")
        mounts = {u.mount_path for u in self.uses[pod]}
        said = "no init container waits for a completed release"
        for index, entry in enumerate(sequence(pod.spec.get("initContainers"))):
            container = mapping(entry)
            argv = [*sequence(container.get("command")), *sequence(container.get("args"))]
            try:
                made = parse(argv)
            except UnprovenError:
                continue
            if not isinstance(made, Verify) or not container.get("command"):
                continue
            where = pod.path("spec", "initContainers", index)
            if container.get("restartPolicy") == "Always":
                said = "the gate is a sidecar: Kubernetes does not wait for its end"
            elif made.claim not in self.releases[client]:
                said = f"the gate waits for claim {made.claim}, which no release of client {client} declares"
            elif not any(_inside(made.release, m) for m in mounts):
                said = f"the gate looks at {made.release}, which is not the private volume"
            elif index and any(self._mounted(pod, i) for i in range(index)):
                said = "another init container reads the private volume before the gate"
            else:
                return
        self.report(
            pod,
            where,
            f"client {client} may start before its data is released: {said}",
            "let the first init container run p3vc verify on its private volume and its release's claim",
        )

    def _mounted(self, pod: Pod, index: int) -> bool:
        return any(u.path[: len(pod.template) + 3] == pod.path("spec", "initContainers", index) for u in self.uses[pod])

    def storage(self) -> None:
        """No storage of a client is another's, the server's or a stranger's."""
        for use in self.context.uses:
            if use.storage.problem and _judged(use.pod):
                self.report(
                    use.pod,
                    use.volume,
                    f"cannot prove which storage this is: {use.storage.problem}",
                    "use a claim declared here with its PersistentVolume, named in its spec.volumeName",
                )
        nodes: dict[str, list[Use]] = defaultdict(list)
        names: dict[str, list[Use]] = defaultdict(list)
        anywhere = []
        for use in self.context.uses:
            if use.storage.path is None:
                names[use.storage.name].append(use)
            elif use.storage.nodes:
                for node in use.storage.nodes:
                    nodes[node].append(use)
            else:
                anywhere.append(use)
        everything = [use for use in anywhere if use.storage.path == "/"]
        reported: set[frozenset[str]] = set()
        for uses in names.values():
            # A folder of the kubelet shows every volume of a node, by whatever name.
            self._shared([(use, other) for use in uses[:1] for other in (*uses, *everything)], reported)
        for uses in (*nodes.values(), []):
            self._shared(_nested([*uses, *anywhere]), reported)

    def _shared(self, pairs: Iterable[tuple[Use, Use]], reported: set[frozenset[str]]) -> None:
        for one, other in pairs:
            same = _owner(one.pod) == _owner(other.pod)
            if same and one.storage.name == other.storage.name:
                continue
            if not (_judged(one.pod) or _judged(other.pod)):
                continue
            key = frozenset((one.pod.name, other.pod.name))
            if key in reported:
                continue
            reported.add(key)
            first, second = (one, other) if _judged(one.pod) else (other, one)
            lines = tuple(
                f"{u.pod.name} mounts {u.storage.name} {u.storage.path or ''}".strip() for u in (first, second)
            )
            who = f"{_owner(first.pod)} and {_owner(second.pod)}"
            message = f"two volumes of {_owner(first.pod)} are one storage" if same else f"{who} share storage"
            repair = "give each its own volume on its own folder"
            self.found.append(violation(NAME, second.pod.owner, second.volume, message, repair, witness=lines))


def _owner(pod: Pod) -> str:
    """Whose the pod's storage is: a client's, or its namespace's."""
    return f"client {pod.client}" if pod.client else f"namespace {pod.namespace}"


def _judged(pod: Pod) -> bool:
    """Whether a pod is part of a testbed."""
    return bool(pod.client or pod.role)


def _nested(uses: list[Use]) -> Iterator[tuple[Use, Use]]:
    """Pairs of which one folder is the other or holds it: each use with those above it, in order of their paths."""
    above: list[tuple[str, Use]] = []
    seen: set[tuple[str, str, str]] = set()
    for path, use in sorted(((f"{(u.storage.path or '').rstrip('/')}/", u) for u in uses), key=lambda p: p[0]):
        while above and not path.startswith(above[-1][0]):
            above.pop()
        yield from ((other, use) for _, other in above)
        owner = (path, _owner(use.pod), use.storage.name)
        if owner not in seen:
            seen.add(owner)
            above.append((path, use))


def check(context: Context) -> list[Violation]:
    """Refuse every way to data of a client but its own release's."""
    judge = _Judge(context)
    for pod in context.pods:
        if pod.role == c.ROLE_P3VC:
            judge.p3vc(pod)
        elif pod.client:
            judge.client(pod)
        if _judged(pod):
            for path, folder in unused(pod):
                judge.report(
                    pod,
                    path,
                    f"hostPath {mapping(folder).get('path')}: a node's folder may be anyone's",
                    "use a PersistentVolumeClaim bound to a local volume of its own",
                )
    judge.storage()
    return judge.found
