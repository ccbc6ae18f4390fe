"""p3vc-only: raw data is read by its own client's P3-VC alone, and leaves a client's node as a release."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from testbed import contract as c
from testbed.argv import SCRATCH, Grant, Register, Spend, UnprovenError, Verify, doubts, read
from testbed.edits import Edit
from testbed.manifests import Path_, mapping
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.volumes import Use, inside, mounts, sources, unused
from testbed.workloads import Pod, get

NAME = "p3vc-only"
# Where a P3-VC container may mount a claim: anywhere else, a mount could lie over the program.
PLACES = (c.MOUNT_RAW, c.MOUNT_LEDGER, c.MOUNT_SEEDS, c.MOUNT_PRIVATE)


def _made(container: Mapping[str, Any]) -> Register | Spend | Grant | Verify | None:
    """What a P3-VC container does; privacy-budget reports what cannot be read."""
    try:
        return read(container)
    except UnprovenError:
        return None


class _Judge:
    def __init__(self, context: Context) -> None:
        self.context, self.found = context, []  # type: tuple[Context, list[Violation]]
        self.uses: dict[Pod, list[Use]] = defaultdict(list)
        self.mounted: dict[tuple[Pod, Path_], list[Use]] = defaultdict(list)  # by container
        for use in context.uses:
            self.uses[use.pod].append(use)
            self.mounted[use.pod, use.container].append(use)
        # What each client's own P3-VC reads and writes, and the releases a client may start from.
        self.raw: dict[str, list[Use]] = defaultdict(list)
        self.private: dict[str, list[Use]] = defaultdict(list)
        self.releases: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
        # The images of the P3-VCs and gates of each testbed, and where each is.
        self.images: dict[str, dict[object, list[tuple[Pod, Path_]]]] = defaultdict(lambda: defaultdict(list))
        self.made: dict[tuple[Pod, Path_], Register | Spend | Grant] = {}  # by container
        for pod in context.pods:
            for path, container in pod.containers() if pod.role == c.ROLE_P3VC else ():
                made = _made(container)
                if made and not isinstance(made, Verify):
                    self.made[pod, path] = made
                    if pod.client:
                        self._learn(pod.client, made, self.mounted[pod, path])

    def _learn(self, client: str, made: Register | Spend | Grant, uses: list[Use]) -> None:
        for use in uses:
            if inside(made.data, use.mount_path) or inside(made.ledger, use.mount_path):
                self.raw[client].append(use)
            elif isinstance(made, Spend) and inside(made.out, use.mount_path):
                self.private[client].append(use)
        if isinstance(made, Spend):
            self.releases[client].add((made.claim, made.formerly))

    def report(self, pod: Pod, path: Path_, message: str, repair: str, edits: tuple[Edit, ...] = ()) -> None:
        self.found.append(violation(NAME, pod.owner, path, message, repair, edits=edits))

    def p3vc(self, pod: Pod) -> None:
        if not pod.client:
            self.report(
                pod, pod.path("metadata", "labels"), "a P3-VC job belongs to no client", f"set {c.LABEL_CLIENT}"
            )
        datasets: set[tuple[str, str, str]] = set()
        for path, container in pod.containers():
            self._program(pod, path, container)
            made = self.made.get((pod, path))
            data = self._volumes(pod, path, made) if made else None
            if made and data:
                datasets.add((data.storage.name, data.sub_path, made.data))
        if len(datasets) > 1:
            message = f"its containers read {len(datasets)} raw datasets: one is registered, another is spent"
            self.report(pod, pod.path("spec"), message, "mount one raw volume in all of them, in one way")

    def _program(self, pod: Pod, path: Path_, container: Mapping[str, Any], places: tuple[str, ...] = PLACES) -> None:
        """The image's own program runs, and nothing is mounted over it or over its data."""
        self.images[_testbed(pod)][container.get("image")].append((pod, (*path, "image")))
        allowed = {"emptyDir": SCRATCH, "persistentVolumeClaim": places}
        named = sources(pod)
        for mount in mounts(path, container):
            kind = named[mount.name].kind if mount.name in named else "unknown"
            if mount.folder not in allowed.get(kind, ()):
                message = f"cannot prove which program runs on which data: {kind} {mount.name} lies over {mount.folder}"
                repair = f"mount emptyDirs at {', '.join(SCRATCH)}, claims at {', '.join(places)}, and nothing else"
                self.report(pod, mount.path, message, repair)

    def _volumes(self, pod: Pod, path: Path_, made: Register | Spend | Grant) -> Use | None:
        """Data, ledger and release are each on their volume; returns the mount of the data."""
        data, ledger = (self._holder(pod, path, name, getattr(made, name)) for name in ("data", "ledger"))
        if data:
            self._whole(pod, made, data)
        out = None if isinstance(made, Register) else self._holder(pod, path, "out", made.out)
        if data and not data.read_only:
            edit = Edit("set", pod.owner.key, (*data.path, "readOnly"), True)
            self.report(pod, data.path, "it can change the raw data", "mount it readOnly: true", (edit,))
        if data and ledger:
            part = (ledger.storage.name, ledger.sub_path, ledger.mount_path)
            if part != (data.storage.name, f"/{c.SUBPATH_LEDGER}", made.ledger):
                message = "its ledger is not the raw volume's own: one elsewhere knows nothing of what is spent"
                repair = f"mount the raw volume's subPath {c.SUBPATH_LEDGER} at {made.ledger}"
                self.report(pod, ledger.path, message, repair)
        if data and isinstance(made, Spend) and made.seeds is not None:
            self._seeds(pod, path, made.seeds, data)
        if out and any(use and use.storage.overlaps(out.storage) for use in (data, ledger)):
            self.report(pod, out.volume, "raw and private data are on one volume", "release into a volume of its own")
        return data

    def _whole(self, pod: Pod, made: Register | Spend | Grant, data: Use) -> None:
        """A part of the data would be another dataset to its ledger, with a budget of its own."""
        if (data.sub_path, data.mount_path) != (f"/{c.SUBPATH_DATA}", made.data):
            message = (
                f"it reads a part of the raw data, {made.data} of {data.sub_path}: a second account of the same data"
            )
            repair = f"mount the raw volume's subPath {c.SUBPATH_DATA} at {made.data} and read all of it"
            self.report(pod, data.path, message, repair)

    def _seeds(self, pod: Pod, path: Path_, folder: str, data: Use) -> None:
        """A seed undoes the noise: it lies where the raw data lies, and where no copy of the ledger takes it along."""
        seeds = self._holder(pod, path, "seeds", folder)
        if seeds and (seeds.storage.name, seeds.sub_path, seeds.mount_path) != (
            data.storage.name,
            f"/{c.SUBPATH_SEEDS}",
            folder,
        ):
            message = "its seeds, which undo the noise, are not in the raw volume's own folder for them"
            self.report(pod, seeds.path, message, f"mount the raw volume's subPath {c.SUBPATH_SEEDS} at {folder}")

    def _holder(self, pod: Pod, path: Path_, option: str, folder: str) -> Use | None:
        """The one mount of a claim that a folder of a container lies in."""
        found = [use for use in self.mounted[pod, path] if inside(folder, use.mount_path)]
        if len(found) == 1:
            return found[0]
        message = f"cannot prove which volume --{option} {folder} is on: {len(found)} mounts of claims hold it"
        self.report(pod, (*path, "command"), message, "mount one claim there")
        return None

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
        """The first init container: any other would run beside what the gate holds back, or before it."""
        path = pod.path("spec", "initContainers", 0)
        gate = mapping(get(pod.spec, ("initContainers", 0)))
        made = _made(gate)
        said = self._opens(pod, path, gate, made)
        if said:
            self.report(
                pod,
                path if isinstance(made, Verify) else path[:-1],
                f"client {pod.client} may start before its data is released: {said}",
                "let the first init container run p3vc verify on its private volume and its release's claim",
            )
        if isinstance(made, Verify):
            self._program(pod, path, gate, (c.MOUNT_PRIVATE,))
            for field, message, repair in doubts(gate):
                self.report(pod, (*path, *field), message, repair)

    def _opens(self, pod: Pod, path: Path_, gate: Mapping[str, Any], made: object) -> str | None:
        """Why a gate lets its pod start without a release."""
        client = pod.client or ""
        if not isinstance(made, Verify):
            return "no init container waits for a completed release before any other runs"
        if gate.get("restartPolicy") == "Always":
            return "the gate is a sidecar: Kubernetes does not wait for its end"
        if (made.claim, made.formerly) not in self.releases[client]:
            return f"the gate waits for claim {made.claim}, which no release of client {client} declares"
        written = {(use.storage.name, use.sub_path) for use in self.private[client]}
        seen = [(u.storage.name, u.sub_path) for u in self.mounted[pod, path] if u.mount_path == made.release]
        if len(seen) != 1 or seen[0] not in written:
            return f"the gate looks at {made.release}, which is not the private volume"
        return None

    def programs(self) -> None:
        """One image runs every P3-VC and every gate of a testbed: the argv of two says nothing of what both do."""
        for images in self.images.values():
            usual = max(images, key=lambda image: (len(images[image]), str(image)))
            first = images[usual][0][0]
            for image, places in images.items():
                for pod, path in places if image != usual else ():
                    message = f"cannot prove which program runs: image {image} here, {usual} in {first.name}"
                    self.report(pod, path, message, "run every P3-VC and gate of the testbed from one image")

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
        everything = [use for use in self.context.uses if use.storage.path == "/"]
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


def _testbed(pod: Pod) -> str:
    return (pod.client or "").rpartition("/")[0]


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
    judge.programs()
    judge.storage()
    return judge.found
