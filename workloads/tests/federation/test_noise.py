"""Training under noise, in one process: what Flower adds is what was granted, and nothing runs without a grant."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from flwr.app import ArrayRecord

from contract.files import TRAINING
from federation import grants, training
from federation.errors import FederationError, InputError
from federation.experiments.simulation import InProcessGrid, simulate
from federation.model import build
from federation.rounds import federate
from federation.settings import Settings, parse
from federation.strategies import make
from tests.federation.conftest import Parts
from tests.federation.loopback import charge, write_release

Digits = Callable[[int, int], Parts]
GRANT = "0123456789ab"
PLAIN = Settings(rounds=1, local_epochs=1, batch_size=16, num_clients=2)
# As much epsilon as the command takes: noise small enough to see what is under it.
NOISY = PLAIN.model_copy(
    update={"grant": GRANT, "training_epsilon": "900", "training_delta": "0.009", "clipping_norm": 20.0}
)


@pytest.fixture
def folders(tmp_path: Path, digits: Digits) -> dict[str, Path]:
    """Two clients whose datasets were charged for ``NOISY``."""
    for client, (images, labels) in digits(2, 60).items():
        write_release(tmp_path / client, images, labels)
        assert charge(tmp_path / client, client, NOISY) == 0
    return {client: tmp_path / client for client in ("c0", "c1")}


def run(folders: dict[str, Path], settings: Settings) -> npt.NDArray[np.float64]:
    arrays = simulate(folders, settings).arrays
    return np.concatenate([a.numpy().ravel().astype(np.float64) for a in arrays.values()])


def recharge(folders: dict[str, Path], settings: Settings) -> None:
    """Charge other datasets for another run, in place of the fixture's."""
    for client, folder in folders.items():
        assert charge(folder, f"{client}-other", settings) == 0


def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the noise away, to see what it is added to."""

    def nothing(_: float, __: float, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        return np.zeros(shape)

    monkeypatch.setattr(np.random, "normal", nothing)


def multiplier(folder: Path) -> float:
    return float(json.loads((folder / TRAINING).read_text())["noise_multiplier"])


def test_the_noise_is_the_granted_one_on_every_weight(folders: dict[str, Path]) -> None:
    """The clip is out of reach here, so that the difference to a run without noise is the noise alone."""
    noise = run(folders, NOISY) - run(folders, PLAIN)
    sigma = multiplier(folders["c0"]) * NOISY.clipping_norm / 2
    assert noise.size > 380_000
    assert np.std(noise) == pytest.approx(sigma, rel=5 / math.sqrt(2 * noise.size))
    assert abs(np.mean(noise)) < 5 * sigma / math.sqrt(noise.size)
    standard = np.sort(noise / sigma)
    assert np.mean(np.abs(standard) < 1) == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.005)
    assert np.mean(np.abs(standard) < 3) == pytest.approx(math.erf(3 / math.sqrt(2)), abs=0.001)
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.01


def test_every_run_and_round_has_noise_of_its_own(folders: dict[str, Path]) -> None:
    """The seed decides the training and never the noise, however NumPy's global generator was left."""
    np.random.seed(7)
    first = run(folders, NOISY)
    np.random.seed(7)
    second = run(folders, NOISY)
    sigma = multiplier(folders["c0"]) * NOISY.clipping_norm / 2
    assert np.std(first - second) == pytest.approx(sigma * math.sqrt(2), rel=0.01)


def test_one_clients_data_moves_the_mean_by_two_clipping_norms_at_most(
    folders: dict[str, Path], digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relation that the charge is computed from: all of a client's records replaced, without the noise."""
    small = NOISY.model_copy(update={"clipping_norm": 0.05})
    recharge(folders, small)
    silence(monkeypatch)
    before = run(folders, small)
    start = np.concatenate([p.detach().numpy().ravel() for p in build("cnn", 10, small.seed).parameters()])
    assert np.linalg.norm(before - start) <= 0.05 * (1 + 1e-3)
    images, labels = digits(2, 60)["c1"]
    write_release(folders["c1"], 255 - images, (labels + 5) % 10)
    assert charge(folders["c1"], "c1-moved", small) == 0
    moved = float(np.linalg.norm(run(folders, small) - before))
    assert 0.1 * 0.05 / 2 < moved <= 2 * 0.05 / 2 * (1 + 1e-3)


def test_clients_weigh_the_same_under_noise_and_by_records_without(
    folders: dict[str, Path], digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits(2, 60)["c1"]
    write_release(folders["c1"], images[:10], labels[:10])
    assert charge(folders["c1"], "c1-few", NOISY) == 0
    silence(monkeypatch)
    weighted, equal = run(folders, PLAIN), run(folders, NOISY)
    assert not np.allclose(weighted, equal, atol=1e-5)


def test_the_cost_is_named_apart_from_the_release(folders: dict[str, Path]) -> None:
    outcome = simulate(folders, NOISY)
    for client, provenance in outcome.clients.items():
        assert provenance["epsilon"] == "100"
        assert provenance["training-epsilon"] == "900"
        assert provenance["training-delta"] == "0.009"
        assert provenance["training-claim"] == f"{client}-training-{GRANT}"
        assert provenance["noise-multiplier"] == multiplier(folders[client])
    assert "training-epsilon" not in simulate(folders, PLAIN).clients["c0"]


def test_fedprox_trains_under_noise(folders: dict[str, Path]) -> None:
    assert np.isfinite(run(folders, NOISY.model_copy(update={"strategy": "fedprox"}))).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, r"c0.*was not charged for it"),
        ("not JSON", r"not a grant of P3-VC"),
        ({"grant": "f" * 12}, r"grant ffffffffffff \(the run: 0123456789ab\)"),
        ({"epsilon": "999"}, r"training-epsilon 999 \(the run: 900\)"),
        ({"delta": "0.4"}, r"training-delta 0.4 \(the run: 0.009\)"),
        ({"rounds": 2}, r"rounds 2 \(the run: 1\)"),
        ({"clipping_norm": 1.0}, r"clipping-norm 1.0 \(the run: 20.0\)"),
        ({"claim": None, "epsilon": None}, r"not a grant of P3-VC"),
        ({"partition": {"index": 0}}, r"charged for other records"),
        ({"dataset": "hmac-sha256:0"}, r"charged for other records"),
    ],
)
def test_a_client_without_this_runs_grant_refuses(
    folders: dict[str, Path], change: dict[str, Any] | str | None, says: str
) -> None:
    path = folders["c0"] / TRAINING
    if change is None:
        path.unlink()
    elif isinstance(change, str):
        path.write_text(change)
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FederationError, match=says):
        simulate(folders, NOISY)


def test_clients_granted_less_noise_than_is_added_stop_the_run(folders: dict[str, Path]) -> None:
    path = folders["c1"] / TRAINING
    path.write_text(json.dumps({**json.loads(path.read_text()), "noise_multiplier": 0.1}))
    used: list[bool] = []
    with pytest.raises(FederationError, match=r"client c1: its grant is for noise multiplier 0\.1"):
        simulate(folders, NOISY, lambda: used.append(True))
    assert not used


@pytest.mark.parametrize("broken", [math.nan, math.inf, 0.0])
def test_an_update_that_no_clipping_bounds_stops_the_run(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, broken: float
) -> None:
    def diverge(model: Any, *_: object, **__: object) -> float:
        if broken:
            next(model.parameters()).data.view(-1)[0] = broken
        return 0.0

    monkeypatch.setattr(training, "train", diverge)
    with pytest.raises(FederationError, match="client c0: its update has norm"):
        simulate(folders, NOISY)


def test_no_more_rounds_than_were_granted(folders: dict[str, Path]) -> None:
    used: list[bool] = []
    small = NOISY.model_copy(update={"clipping_norm": 0.05})  # what the second round starts from is no noise only
    recharge(folders, small)
    strategy = make(small, lambda: used.append(True))
    initial = ArrayRecord(build("cnn", 10, 7).state_dict())
    with pytest.raises(FederationError, match="round 2: the grant is for 1 rounds"):
        federate(InProcessGrid(folders, small), strategy, initial, small.model_copy(update={"rounds": 2}))
    assert used == [True]


def test_a_grant_is_used_once(tmp_path: Path) -> None:
    grants.refuse_used(tmp_path, GRANT)
    grants.use(tmp_path, GRANT, 41)
    assert (tmp_path / "grants" / GRANT).read_text() == "41\n"
    says = r"used by run 41.*raise federation\.training_dp\.number"
    with pytest.raises(FederationError, match=says):
        grants.refuse_used(tmp_path, GRANT)
    with pytest.raises(FederationError, match=says):
        grants.use(tmp_path, GRANT, 41)
    grants.use(tmp_path, "f" * 12, 42)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"grant": GRANT}, "training-epsilon: '': grant, training-epsilon and training-delta go together"),
        ({"training-epsilon": "1"}, "go together"),
        ({"grant": "xyz", "training-epsilon": "1", "training-delta": "1e-6"}, "grant: 'xyz': string should match"),
        ({"grant": GRANT, "training-epsilon": "1", "training-delta": "0.6"}, "not a decimal from 1e-30 to 0.5"),
        ({"grant": GRANT, "training-epsilon": "NaN", "training-delta": "0.1"}, "not a decimal from 1e-12 to 1000"),
        ({"grant": GRANT, "training-epsilon": "one", "training-delta": "0.1"}, "not a decimal from 1e-12 to 1000"),
        (
            {"grant": GRANT, "training-epsilon": "1", "training-delta": "1e-6", "strategy": "fedadam"},
            "strategy fedadam does not train under noise; allowed: fedavg and fedprox",
        ),
        ({"clipping-norm": 0.0}, "clipping-norm: 0.0"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(values)
    assert says in str(caught.value)
