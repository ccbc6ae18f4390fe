"""Which programs run in a testbed's pods: the declared ones, from pinned images. A part of hardened-pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from testbed import argv
from testbed import contract as c
from testbed.manifests import Path_, mapping, sequence
from testbed.rules.context import Context
from testbed.rules.violation import Violation, violation
from testbed.volumes import mounts
from testbed.workloads import Pod

NAME = "hardened-pods"

# The programs of each role, as testbed.commands writes them; p3vc-only judges the P3-VC's own and the client's gate.
PROGRAMS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    c.ROLE_SERVER: (("flower-superlink",), ("federation", "superexec")),
    c.ROLE_CLIENT: (("federation", "supernode"), ("federation", "superexec")),
    c.ROLE_RUN: (("federation", "run"),),
}
PROBE = ["federation", "probe"]
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
VARIABLES = argv.VARIABLES | {
    "HOME", "FLWR_DISABLE_UPDATE_CHECK", "FLWR_HOME", "FLWR_SUPEREXEC_TASK_POLL_INTERVAL", "FLWR_TELEMETRY_ENABLED",
    "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED",
}  # fmt: skip
MOUNTS = frozenset(
    [
        c.MOUNT_HOME, "/tmp", "/var/tmp", c.MOUNT_PRIVATE, c.MOUNT_STATE, c.MOUNT_RESULTS, c.MOUNT_CA, c.MOUNT_TLS,  # noqa: S108
        c.MOUNT_KEY, c.MOUNT_PUBLIC_KEYS, c.MOUNT_SUPEREXEC,
    ]
)  # fmt: skip


def check(context: Context) -> Iterator[Violation]:
    """Refuse every container that may run another program than the declared ones."""
    pinned, sidecars = context.config.pods.images, context.config.pods.sidecars
    images: dict[object, dict[object, list[tuple[Pod, Path_]]]] = defaultdict(lambda: defaultdict(list))
    for pod in context.pods:
        if not pod.role:
            continue
        seen: set[tuple[str, ...]] = set()
        for path, container in pod.containers():
            image = container.get("image")
            if image in sidecars:
                continue
            if pinned and image not in pinned:
                message = f"image {image} is not among those that the policy's configuration pins"
                admit = f'"hardened-pods": {{"images": ["{image}"]}}, or under "sidecars" for another program'
                yield violation(NAME, pod.owner, (*path, "image"), message, f"run a pinned image, or pin it: {admit}")
                continue
            if _judged_elsewhere(pod, container):
                continue
            program = _program(pod, container)
            if program is None or program in seen:
                yield _unknown(pod, path, container)
                continue
            seen.add(program)
            images[context.model.homes.get(pod.namespace, {}).get(c.LABEL_TESTBED)][image].append((pod, path))
            yield from _opened(pod, path, container)
    for by_image in images.values() if not pinned else ():
        usual = max(by_image, key=lambda image: (len(by_image[image]), str(image)))
        for image, places in by_image.items():
            for pod, path in places if image != usual else ():
                message = f"image {image} here, {usual} in the testbed's other pods: cannot prove which program runs"
                repair = f'run one image, or pin both: "hardened-pods": {{"images": ["{usual}", "{image}"]}}'
                yield violation(NAME, pod.owner, (*path, "image"), message, repair)


def _judged_elsewhere(pod: Pod, container: Mapping[str, Any]) -> bool:
    """Whether p3vc-only says which program runs: all of a P3-VC, and the gate of a client."""
    words = sequence(container.get("command"))
    return pod.role == c.ROLE_P3VC or (pod.role == c.ROLE_CLIENT and list(words[:2]) == ["p3vc", "verify"])


def _program(pod: Pod, container: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The declared program that a container runs, None when it is none of its role's."""
    words = sequence(container.get("command"))
    for program in PROGRAMS.get(pod.role or "", ()):
        if tuple(words[: len(program)]) == program and not container.get("args"):
            return program
    return None


def _unknown(pod: Pod, path: Path_, container: Mapping[str, Any]) -> Violation:
    image = container.get("image")
    words = " ".join(map(str, sequence(container.get("command"))[:2])) or "its image's own program"
    message = f"container {container.get('name')} runs {words}, which is none of a {pod.role}'s programs: it may relay"
    repair = f'remove it, or admit its image as a sidecar\'s: "hardened-pods": {{"sidecars": ["{image}"]}}'
    return violation(NAME, pod.owner, path, message, repair)


def _opened(pod: Pod, path: Path_, container: Mapping[str, Any]) -> Iterator[Violation]:
    """Ways to run something else in the container of a declared program."""
    if container.get("lifecycle"):
        yield violation(NAME, pod.owner, (*path, "lifecycle"), "its hooks run other programs", "remove it")
    for probe in PROBES:
        words = mapping(mapping(container.get(probe)).get("exec")).get("command")
        if words is not None and list(sequence(words)[:2]) != PROBE:
            at = (*path, probe, "exec", "command")
            yield violation(NAME, pod.owner, at, "its probe runs another program", f"run {' '.join(PROBE)} in it")
    if container.get("envFrom"):
        message = "cannot prove which variables it gets, and so which program runs"
        yield violation(NAME, pod.owner, (*path, "envFrom"), message, "remove it")
    for index, one in enumerate(sequence(container.get("env"))):
        name = mapping(one).get("name")
        if name not in VARIABLES:
            message = f"variable {name} may change which program runs, or where it connects"
            yield violation(NAME, pod.owner, (*path, "env", index), message, "remove it")
    for mount in mounts(path, container):
        if mount.folder not in MOUNTS:
            message = f"a volume lies over {mount.folder} and may bring another program"
            yield violation(NAME, pod.owner, mount.path, message, f"mount at {', '.join(sorted(MOUNTS))} alone")
