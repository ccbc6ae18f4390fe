"""``python -m lab.ovn --root ROOT``: the network's controller."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from lab.ovn.controller import Controller
from lab.paths import Paths


def main() -> int:
    """Run until ended."""
    parser = argparse.ArgumentParser(prog="python -m lab.ovn", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the lab")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    Controller(Paths(options.root)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
