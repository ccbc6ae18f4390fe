"""p3vc-only: raw data leaves a client's node through its own P3-VC release alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from testbed import contract as c
from testbed.argv import Spend, UnprovenError, Verify, parse
from testbed.edits import Edit
from testbed.manifests import Path_, mapping, sequence
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.volumes import Use, unused
from testbed.workloads import Pod

NAME = "p3vc-only"


def _spends(pod: Pod) -> Iterator[Spend]:
    for _, container in pod.containers():
        try:
            made = parse([*sequence(container.get("command")), *sequence(container.get("args"))])
        except UnprovenError:
            continue
        if isinstance(made, Spend):
            yield made


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


class _Judge:
    def __init__(self, context: Context) -> None:
        self.context, self.found = context, []  # type: tuple[Context, list[Violation]]
        self.uses: dict[Pod, list[Use]] = defaultdict(list)
        for use in context.uses:
            self.uses[use.pod].append(use)
        # What each client's own releases read and write.
        self.raw: dict[str, list[Use]] = defaultdict(list)
        self.private: dict[str, list[Use]] = defaultdict(list)
        self.claims: dict[str, set[str]] = defaultdict(set)
        for pod in context.pods:
            if pod.role != c.ROLE_P3VC or not pod.client:
                continue
            for spend in _spends(pod):
                self.claims[pod.client].add(spend.claim)
                for use in self.uses[pod]:
                    if _inside(spend.data, use.mount_path) or _inside(spend.ledger, use.mount_path):
                        self.raw[pod.client].append(use)
                    elif _inside(spend.out, use.mount_path):
                        self.private[pod.client].append(use)

    def report(self, pod: Pod, path: Path_, message: str, repair: str, edits: tuple[Edit, ...] = ()) -> None:
        self.found.append(violation(NAME, pod.owner, path, message, repair, edits=edits))

    def p3vc(self, pod: Pod) -> None:
        if not pod.client:
            self.report(
                pod, pod.path("metadata", "labels"), "a P3-VC job belongs to no client", f"set {c.LABEL_CLIENT}"
            )
        outs = [s.out for s in _spends(pod)]
        for spend in _spends(pod):
            if _inside(spend.out, spend.data) or _inside(spend.data, spend.out):
                self.report(
                    pod,
                    pod.path("spec"),
                    "it releases into the folder of the raw data",
                    "give --out a volume of its own",
                )
        data = [s.data for s in _spends(pod)]
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
            elif made.claim not in self.claims[client]:
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
        mine: dict[str, list[Use]] = defaultdict(list)
        others: list[Use] = []
        for use in self.context.uses:
            if use.storage.problem and (use.pod.client or use.pod.role):
                self.report(
                    use.pod,
                    use.volume,
                    f"cannot prove which storage this is: {use.storage.problem}",
                    "declare the claim and its PersistentVolume here, bound to each other",
                )
            (mine[use.pod.client] if use.pod.client else others).append(use)
        held: dict[tuple[str, str], list[Use]] = defaultdict(list)
        loose: list[Use] = []
        for uses in (*mine.values(), others):
            for use in uses:
                for node in use.storage.nodes or [""]:
                    held[node, self._root(use)].append(use)
                if not use.storage.nodes and use.storage.path is not None:
                    loose.append(use)
        reported: set[tuple[str, str]] = set()
        for uses in held.values():
            first_by_owner: dict[str, Use] = {}
            for use in uses:
                first_by_owner.setdefault(
                    f"{use.pod.client or use.pod.name} {use.storage.name} {use.storage.path}", use
                )
            self._pairs(list(first_by_owner.values()), list(first_by_owner.values()), reported)
        if loose:
            self._pairs(loose, list(self.context.uses), reported)

    @staticmethod
    def _root(use: Use) -> str:
        """Overlapping folders of one node share this: uses under one top folder are compared pairwise."""
        return "/".join((use.storage.path or "").split("/")[:4]) if use.storage.path else use.storage.name

    def _pairs(self, left: list[Use], right: list[Use], reported: set[tuple[str, str]]) -> None:
        for one in left:
            for other in right:
                if not one.pod.client or one.pod.client == other.pod.client:
                    continue
                key = (min(one.pod.name, other.pod.name), max(one.pod.name, other.pod.name))
                if key not in reported and one.storage.overlaps(other.storage):
                    reported.add(key)
                    who = f"client {other.pod.client}" if other.pod.client else other.pod.name
                    lines = (
                        f"{one.pod.name} mounts {one.storage.name} {one.storage.path or ''}".strip(),
                        f"{other.pod.name} mounts {other.storage.name} {other.storage.path or ''}".strip(),
                    )
                    message = f"client {one.pod.client} and {who} share storage"
                    self.found.append(
                        violation(
                            NAME,
                            other.pod.owner,
                            other.volume,
                            message,
                            "give each its own volume on its own folder",
                            witness=lines,
                        )
                    )


def check(context: Context) -> list[Violation]:
    """Refuse every way to data of a client but its own release's."""
    judge = _Judge(context)
    for pod in context.pods:
        if pod.role == c.ROLE_P3VC:
            judge.p3vc(pod)
        elif pod.client:
            judge.client(pod)
        if pod.client or pod.role:
            for path, folder in unused(pod):
                judge.report(
                    pod,
                    path,
                    f"hostPath {mapping(folder).get('path')}: a node's folder may be anyone's",
                    "use a PersistentVolumeClaim bound to a local volume of its own",
                )
    judge.storage()
    return judge.found
