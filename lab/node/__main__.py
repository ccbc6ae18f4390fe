"""``python -m lab.node --root ROOT --nodes FILE.json``: serve the nodes of a lab until told to stop."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path
from types import FrameType

from lab.errors import LabError
from lab.node import heartbeat
from lab.node.agent import Agent
from lab.node.network import NoNetwork, OvnNetwork
from lab.paths import Paths


class _Stop(Exception):  # noqa: N818 - not an error
    """Somebody asked the agent to end."""


def _on_signal(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise _Stop


def main() -> int:
    """Serve; exit 0 when told to stop, 1 when the nodes cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m lab.node", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the lab's folder")
    parser.add_argument("--nodes", type=Path, required=True, help="JSON list of the nodes")
    parser.add_argument("--no-network", action="store_true", help="give pods a loopback and nothing else")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    paths = Paths(options.root)
    try:
        machines = heartbeat.read(options.nodes)
    except LabError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    agent = Agent(paths, machines, NoNetwork() if options.no_network else OvnNetwork(paths))
    signal.signal(signal.SIGTERM, _on_signal)
    try:
        agent.run()
    except (_Stop, KeyboardInterrupt):
        agent.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
