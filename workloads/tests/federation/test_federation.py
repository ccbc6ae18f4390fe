"""One real federation: SuperLink, SuperNodes and SuperExecs as the pods run them, TLS and SuperNode keys included."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from flwr.cli.build import build_fab_from_disk

from contract.files import HISTORY, MANIFEST, MODEL, SUMMARY
from federation import bundle
from federation.cli import main
from federation.control import FINISHED, Control
from federation.experiments.simulation import simulate
from federation.settings import Settings, parse
from tests.federation.conftest import Parts
from tests.federation.loopback import Loopback, charge

pytestmark = [pytest.mark.federation, pytest.mark.timeout(900)]

CONFIG: dict[str, str | int | float] = {"rounds": 2, "local-epochs": 1, "batch-size": 16}


def test_a_federation(tmp_path: Path, digits: Callable[[int, int], Parts]) -> None:
    parts = digits(2, 100)
    rounds = 9  # more than the half minute for which a retried job listens for its clients
    long = CONFIG | {"rounds": rounds}
    with Loopback(tmp_path / "lab", parts) as lab:
        # A job that dies is retried and follows the run it had submitted.
        lab.run_until("submitted run", long)
        done = lab.run(long, None, "--wait", "300", "--timeout", "400")
        assert done.returncode == 0, done.stderr + lab.logs()
        assert "following run" in done.stderr
        assert "submitted run" not in done.stderr
        assert f"round {rounds}/{rounds}" in done.stderr
        record = json.loads((lab.root / "termination-log").read_text())
        assert [r["round"] for r in record["rounds"]] == list(range(1, rounds + 1))
        assert set(record["clients"]) == {"c0", "c1"}

        folder = lab.root / "results" / f"run-{record['run']}"
        history = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
        assert [r["round"] for r in history] == list(range(1, rounds + 1))
        assert hashlib.sha256((folder / MODEL).read_bytes()).hexdigest() == record["model"]
        with np.load(folder / MODEL) as model:
            provenance = json.loads(str(model["provenance"]))
            weights = {name: model[name] for name in model.files if name != "provenance"}
        for client in parts:
            manifest = (lab.root / client / "private" / MANIFEST).read_bytes()
            assert provenance["clients"][client]["manifest"] == hashlib.sha256(manifest).hexdigest()

        # The network changes nothing: the same messages in one process give the same weights.
        here = simulate(
            {client: lab.root / client / "private" for client in parts},
            Settings(rounds=rounds, local_epochs=1, batch_size=16, num_clients=2),
        )
        assert all((weights[name] == array.numpy()).all() for name, array in here.arrays.items())

        assert main(["probe", "--address", lab.health]) == 0

        # Whoever reaches the port can submit an app, and it runs nowhere.
        foreign = shutil.copytree(Path(bundle.__file__).parent, tmp_path / "federation", copy_function=shutil.copy)
        with (foreign / "server_app.py").open("a") as file:
            file.write(f"\nPath({str(tmp_path / 'foreign')!r}).touch()\n")
        content = build_fab_from_disk(foreign)
        with closing(Control(lab.address, (lab.root / "ca" / "ca.crt").read_bytes())) as control:
            submitted = control.start(content, hashlib.sha256(content).hexdigest(), {})
            deadline = time.monotonic() + 60
            while (current := control.run(submitted)).status != FINISHED:
                assert time.monotonic() < deadline, lab.logs()
                time.sleep(0.5)
        assert "refused app" in current.details
        assert not (tmp_path / "foreign").exists()

        # A client that is no longer declared loses its key; one whose volume is not released stops the run by name.
        (lab.root / "c1" / "private" / MANIFEST).unlink()
        refused = lab.run(CONFIG, ["c1"], "--wait", "120", "--timeout", "200")
        assert refused.returncode == 1, refused.stderr + lab.logs()
        assert "unregistered SuperNode c0: its client is no longer declared" in refused.stderr
        error = json.loads((lab.root / "termination-log").read_text())["error"]
        assert "client c1:" in error
        assert "holds no complete release" in error

        again = lab.run(CONFIG, ["c0"], "--wait", "60")
        assert again.returncode == 2
        assert "was unregistered, which is permanent" in again.stderr


def test_a_federation_under_noise(tmp_path: Path, digits: Callable[[int, int], Parts]) -> None:
    noisy = CONFIG | {"grant": "0123456789ab", "training-epsilon": "100", "training-delta": "1e-5"}
    noisy["clipping-norm"] = 0.5
    with Loopback(tmp_path / "lab", digits(2, 100)) as lab:
        for client in lab.clients:
            assert charge(lab.root / client / "private", client, parse(noisy)) == 0
        done = lab.run(noisy, None, "--wait", "300", "--timeout", "400")
        assert done.returncode == 0, done.stderr + lab.logs()
        record = json.loads((lab.root / "termination-log").read_text())
        for client in lab.clients:
            shown = {key: record["clients"][client][key] for key in ("epsilon", "training-epsilon", "training-delta")}
            assert shown == {"epsilon": "100", "training-epsilon": "100", "training-delta": "0.00001"}
        results = lab.root / "results"
        assert (results / "grants" / "0123456789ab").read_text().strip() == record["run"]
        summary = json.loads((results / f"run-{record['run']}" / SUMMARY).read_text())
        granted = json.loads((lab.root / "c0" / "private" / "training.json").read_text())
        assert summary["noise-multiplier"] == granted["noise_multiplier"]
        assert summary["flower-privacy-spent"]["releases"] == 2
        assert 0 < summary["flower-privacy-spent"]["epsilon"] < 100
        history = (results / f"run-{record['run']}" / HISTORY).read_text().splitlines()
        spent = [json.loads(line)["flower-privacy-spent"]["epsilon"] for line in history]
        assert 0 < spent[0] < spent[1] == summary["flower-privacy-spent"]["epsilon"]

        # The same grant pays for no second run, and another run needs every client's own.
        again = lab.run(noisy, None, "--wait", "300", "--timeout", "400")
        assert again.returncode == 1, again.stderr + lab.logs()
        error = json.loads((lab.root / "termination-log").read_text())["error"]
        assert f"was used by run {record['run']}" in error
        assert "raise federation.training_dp.number" in error
        other = {**noisy, "grant": "ba9876543210"}
        assert charge(lab.root / "c0" / "private", "c0", parse(other)) == 0
        refused = lab.run(other, None, "--wait", "300", "--timeout", "400")
        assert refused.returncode == 1, refused.stderr + lab.logs()
        error = json.loads((lab.root / "termination-log").read_text())["error"]
        assert "client c1:" in error
        assert "is for another run" in error
        assert not (results / "grants" / "ba9876543210").exists()
