"""One real federation: SuperLink, SuperNodes and SuperExecs as the pods run them, TLS and SuperNode keys included."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from testbed import contract as c

from federation.cli import main
from federation.experiments.simulation import simulate
from federation.settings import Settings
from tests.federation.conftest import Parts
from tests.federation.loopback import Loopback

pytestmark = [pytest.mark.federation, pytest.mark.timeout(900)]

CONFIG: dict[str, str | int | float] = {"rounds": 2, "local-epochs": 1, "batch-size": 16}


def test_a_federation(tmp_path: Path, digits: Callable[[int, int], Parts]) -> None:
    parts = digits(2, 100)
    with Loopback(tmp_path / "lab", parts) as lab:
        # A job that dies is retried and follows the run it had submitted.
        lab.run_until("submitted run", CONFIG)
        done = lab.run(CONFIG, None, "--wait", "300", "--timeout", "400")
        assert done.returncode == 0, done.stderr + lab.logs()
        assert "following run" in done.stderr
        assert "submitted run" not in done.stderr
        assert "round 2/2" in done.stderr
        record = json.loads((lab.root / "termination-log").read_text())
        assert [r["round"] for r in record["rounds"]] == [1, 2]
        assert set(record["clients"]) == {"c0", "c1"}

        folder = lab.root / "results" / f"run-{record['run']}"
        history = [json.loads(line) for line in (folder / c.HISTORY).read_text().splitlines()]
        assert [r["round"] for r in history] == [1, 2]
        assert hashlib.sha256((folder / c.MODEL).read_bytes()).hexdigest() == record["model"]
        with np.load(folder / c.MODEL) as model:
            provenance = json.loads(str(model["provenance"]))
            weights = {name: model[name] for name in model.files if name != "provenance"}
        for client in parts:
            manifest = (lab.root / client / "private" / c.MANIFEST).read_bytes()
            assert provenance["clients"][client]["manifest"] == hashlib.sha256(manifest).hexdigest()

        # The network changes nothing: the same messages in one process give the same weights.
        here = simulate(
            {client: lab.root / client / "private" for client in parts},
            Settings(rounds=2, local_epochs=1, batch_size=16, num_clients=2),
        )
        assert all((weights[name] == array.numpy()).all() for name, array in here.arrays.items())

        assert main(["probe", "--address", lab.health]) == 0

        # A client that is no longer declared loses its key; one whose volume is not released stops the run by name.
        (lab.root / "c1" / "private" / c.MANIFEST).unlink()
        refused = lab.run(CONFIG, ["c1"], "--wait", "120", "--timeout", "200")
        assert refused.returncode == 1, refused.stderr + lab.logs()
        assert "unregistered SuperNode c0: its client is no longer declared" in refused.stderr
        error = json.loads((lab.root / "termination-log").read_text())["error"]
        assert "client c1:" in error
        assert "holds no complete release" in error

        again = lab.run(CONFIG, ["c0"], "--wait", "60")
        assert again.returncode == 2
        assert "was unregistered, which is permanent" in again.stderr
