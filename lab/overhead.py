"""What the lab adds to a federation's time: its pods, networks, TLS and keys against plain Flower on the loopback."""

from __future__ import annotations

import json
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from contract.files import SUMMARY
from lab import disks, lifecycle
from lab.errors import LabError
from lab.loopback import Loopback
from lab.paths import REPOSITORY, Paths
from lab.progress import say, step
from lab.up import load, up
from testbed import placement, stackfile

STACK = "bench"
ROUNDS = 6  # a SuperNode asks for messages every 3 s, so that one round alone says little
PASSES = 2  # of each, in an order in which a machine that becomes slower is no one's disadvantage
LAB, PLAIN, OURS = "the lab", "plain Flower", "with our SuperNode and SuperExec"


@dataclass(frozen=True)
class Run:
    """What a run took, in seconds: each round, and the ServerApp from its first to its last line."""

    rounds: tuple[float, ...]
    whole: float

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Run:
        """Read it from a run's summary."""
        return cls(tuple(one["seconds"] for one in summary["rounds"]), summary["seconds"])


def order(passes: int) -> list[str]:
    """Return which to run when: each as often as the other, and as early."""
    every = [LAB, PLAIN, OURS]
    return [kind for number in range(passes) for kind in (every if number % 2 == 0 else every[::-1])]


def table(runs: Mapping[str, list[Run]]) -> str:
    """Return the seconds a round and in all, and both as ratios of plain Flower's."""
    plain_round, plain_whole = _means(runs[PLAIN])
    lines = []
    for kind in (PLAIN, OURS, LAB):
        a_round, whole = _means(runs[kind])
        spread = statistics.stdev(seconds for run in runs[kind] for seconds in run.rounds)
        lines.append(
            f"{kind:<34}{a_round:6.2f} s a round (standard deviation {spread:.2f} s), {whole:6.1f} s in all "
            f"({', '.join(f'{run.whole:.1f}' for run in runs[kind])}): "
            f"{a_round / plain_round:.2f} and {whole / plain_whole:.2f} of plain Flower's"
        )
    return "\n".join(lines)


def _means(runs: Sequence[Run]) -> tuple[float, float]:
    return statistics.fmean(s for run in runs for s in run.rounds), statistics.fmean(run.whole for run in runs)


@contextmanager
def _folder() -> Iterator[Paths]:
    """A lab folder that ends with the block, and the lab in it; a request to end is an exception inside."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    paths = Paths(Path(tempfile.mkdtemp(prefix="kubeflower-")))
    try:
        yield paths
    finally:
        signal.signal(signal.SIGTERM, before)
        lifecycle.stop(paths)
        shutil.rmtree(paths.root)


def _stack(folder: Path) -> None:
    """Write the lab's stack with more rounds under another name."""
    config = stackfile.load(stackfile.where("lab", REPOSITORY))
    config["kubeflower:federation"]["rounds"] = ROUNDS
    stackfile.where(STACK, folder).write_text(yaml.safe_dump({"config": config}))
    shutil.copy(REPOSITORY / "Pulumi.yaml", folder / "Pulumi.yaml")


def _measure(paths: Paths, stack: Path) -> dict[str, list[Run]]:
    """Run each in turn on the releases that the lab makes when it is up for the first time."""
    spec = load(STACK, stack)
    releases = {client.id: disks.private(paths, spec, client) for client in placement.clients(spec)}
    runs: dict[str, list[Run]] = {LAB: [], PLAIN: [], OURS: []}
    seen: set[Path] = set()
    settings: dict[str, Any] = {}
    for number, kind in enumerate(order(PASSES)):
        if kind == LAB:
            up(paths, STACK, folder=stack)
            found = set(disks.results(paths, spec).glob(f"*/{SUMMARY}")) - seen
            seen |= found
            summary = json.loads(found.pop().read_text())
            settings = summary["settings"]
            lifecycle.stop(paths)  # an idle lab would slow plain Flower down
        else:
            folder, cpu = stack / f"loopback-{number}", spec.clients.resources.cpu
            with step(kind), Loopback(folder, releases, cpu, ours=kind == OURS) as flower:
                summary = flower.run(settings)
        runs[kind].append(Run.of(summary))
        say(f"{kind}: {runs[kind][-1].whole:.1f} s")
    return runs


def main() -> int:
    """Print the times and their ratios; progress goes to stderr."""
    try:
        with redirect_stdout(sys.stderr), _folder() as paths:
            stack = paths.root / "stack"
            stack.mkdir()
            _stack(stack)
            runs = _measure(paths, stack)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(table(runs) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
