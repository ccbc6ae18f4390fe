"""What the policy pack adds to a preview's wall time: the same stack, with it and without it, in one run."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import yaml

from lab.errors import LabError
from lab.paths import REPOSITORY
from lab.up import throw_away

CLIENTS = 100
STACK = "bench"


def config(clients: int) -> dict[str, object]:
    """The paper's testbed with more clients, on nodes that hold them."""
    values: dict[str, object] = yaml.safe_load((REPOSITORY / "Pulumi.cloud-edge.yaml").read_text())["config"]
    nodes = values["kubeflower:nodes"]
    assert isinstance(nodes, list)  # noqa: S101
    values["kubeflower:nodes"] = [{**node, "cpu": 512, "memory": 1024} for node in nodes]
    values["kubeflower:capacity"] = clients
    values["kubeflower:clients"] = {"num_clients": clients, "placement": "weighted"}
    return values


def main() -> int:
    """Print both times and the pack's share."""
    with throw_away(STACK, yaml.safe_dump({"config": config(CLIENTS)})) as judged:
        seconds = []
        for engine in (replace(judged, judged=False), judged):
            begun = time.monotonic()
            done = engine.preview()
            if not done.ok:
                raise LabError("\n".join(done.problems))
            seconds.append(time.monotonic() - begun)
    without, within = seconds
    sys.stdout.write(
        f"preview of {CLIENTS} clients, {done.changes['create']} resources: {without:.1f} s without the pack, "
        f"{within:.1f} s with it: the pack's share is {1 - without / within:.0%}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
