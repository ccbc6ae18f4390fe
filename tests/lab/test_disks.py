"""What the lab's disks say is spent, by the place where the testbed has each ledger."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab import disks
from lab.paths import Paths
from testbed import ledger
from tests.components.rendering import spec


def test_each_ledger_is_counted_at_the_place_that_the_policies_know(tmp_path: Path) -> None:
    paths, testbed = Paths(tmp_path), spec("lab")
    assert not disks.kept_of(paths, testbed)
    disks.prepare(paths, testbed)
    assert disks.kept_of(paths, testbed)
    place = "/var/lib/kubeflower/lab/e3/raw"
    raw = paths.on_disk("E3", place)
    where = ("--data", str(raw / "data"), "--ledger", str(raw / "ledger"))
    for argv in (
        ("register", *where, "--budget", "0.7"),
        ("release", *where, "--out", str(tmp_path / "out"), "--claim", "e3-claim", "--epsilon", "0.7"),
    ):
        subprocess.run([ledger.P3VC, *argv], check=True, capture_output=True)
    found = disks.spent(paths, testbed)["privacy-budget"]["spent"]
    assert found == {"digits": {f"e3:{place}/ledger": {"e3-claim": {"epsilon": "0.7"}}}}
