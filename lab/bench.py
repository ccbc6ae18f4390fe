"""What the policy pack adds to a preview's wall time: the same stack, with it and without it, in one run."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from statistics import median

import yaml

from lab.engine import Engine
from lab.errors import LabError
from lab.paths import REPOSITORY
from lab.up import throw_away
from testbed import stackfile

CLIENTS = 100
TURNS = 5
STACK = "bench"


def config(clients: int) -> dict[str, object]:
    """The paper's testbed with more clients, on nodes that hold them."""
    values: dict[str, object] = stackfile.load(stackfile.where("cloud-edge", REPOSITORY))
    nodes = values["kubeflower:nodes"]
    assert isinstance(nodes, list)  # noqa: S101
    values["kubeflower:nodes"] = [{**node, "cpu": 512, "memory": 1024, "disk": 1024} for node in nodes]
    values["kubeflower:capacity"] = clients
    values["kubeflower:clients"] = {"num_clients": clients, "placement": "weighted"}
    return values


def seconds(engine: Engine) -> tuple[float, int]:
    """Preview once: wall seconds, and how many resources there are."""
    begun = time.monotonic()
    done = engine.preview()
    if not done.ok:
        raise LabError("\n".join(done.problems))
    return time.monotonic() - begun, done.changes["create"]


def main() -> int:
    """Print the medians of previews with and without the pack, in turns, and the pack's share."""
    without, within = [], []
    with throw_away(STACK, yaml.safe_dump({"config": config(CLIENTS)})) as judged:
        for _ in range(TURNS):
            without.append(seconds(replace(judged, judged=False))[0])
            taken, resources = seconds(judged)
            within.append(taken)
    before, after = median(without), median(within)
    sys.stdout.write(
        f"preview of {CLIENTS} clients, {resources} resources, median of {TURNS}: {before:.1f} s without the pack, "
        f"{after:.1f} s with it: the pack's share is {1 - before / after:.0%}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
