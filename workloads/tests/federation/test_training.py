from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from federation import model as models
from federation import training
from federation.data import Release
from federation.errors import FederationError
from federation.experiments.simulation import simulate
from federation.rounds import Outcome
from federation.settings import Settings
from federation.strategies import make
from tests.federation.conftest import Parts
from tests.federation.loopback import write_release

Digits = Callable[[int, int], Parts]
SMALL = {"rounds": 2, "local_epochs": 2, "num_clients": 2, "batch_size": 16}


def release_of(parts: Parts) -> Release:
    images, labels = next(iter(parts.values()))
    return Release(images, labels, "0.7", "laplace", "")


def test_the_network_is_the_papers() -> None:
    model = models.build("cnn", 10, 1)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [32, 64, 128, 256]
    assert {m.kernel_size for m in convolutions} == {(3, 3)}
    assert sum(isinstance(m, torch.nn.MaxPool2d) for m in model.modules()) == 4
    assert model(torch.zeros(5, 3, 32, 32)).shape == (5, 10)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 1, 28, 28), (2, 3, 32, 32), (2, 3, 96, 64)])
def test_every_released_size_reaches_the_model(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    tensor = models.to_input(images, torch.device("cpu"))
    assert tensor.shape == (2, 3, 32, 32)
    assert -1 <= float(tensor.min()) <= float(tensor.max()) <= 1


def test_enlarging_repeats_pixels() -> None:
    images = np.array([[[[0, 255], [51, 102]]]], np.uint8)
    tensor = models.to_input(images, torch.device("cpu"))
    assert torch.equal(tensor[0, 0, :16, 16:], torch.ones(16, 16))
    assert torch.equal(tensor[0, 2, 16:, :16], torch.full((16, 16), 51 / 127.5 - 1))


def test_the_initial_model_follows_the_seed() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (models.build("cnn", 10, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not all(torch.equal(one[k], other[k]) for k in one)
    assert torch.equal(before, torch.random.get_rng_state())


def test_steps_are_those_of_torch_sgd(digits: Digits) -> None:
    release, rows = release_of(digits(1, 48)), np.arange(48)
    ours, theirs = models.build("cnn", 10, 3), models.build("cnn", 10, 3)
    training.train(
        ours,
        release,
        rows,
        epochs=2,
        batch_size=16,
        learning_rate=0.05,
        momentum=0.9,
        proximal_mu=0,
        rng=np.random.default_rng(5),
    )
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.05, momentum=0.9)
    rng = np.random.default_rng(5)
    for _ in range(2):
        order = rng.permutation(rows)
        for start in range(0, 48, 16):
            chosen = order[start : start + 16]
            images = models.to_input(release.images[chosen], torch.device("cpu"))
            loss = torch.nn.functional.cross_entropy(theirs(images), torch.from_numpy(release.labels[chosen]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_proximal_term_holds_the_model_back(digits: Digits) -> None:
    release, rows = release_of(digits(1, 64)), np.arange(64)
    start = models.build("cnn", 10, 3)

    def distance(mu: float) -> float:
        model = models.build("cnn", 10, 3)
        rng = np.random.default_rng(1)
        training.train(
            model, release, rows, epochs=3, batch_size=16, learning_rate=0.05, momentum=0, proximal_mu=mu, rng=rng
        )
        pairs = zip(model.parameters(), start.parameters(), strict=True)
        return sum(float(((p - q) ** 2).sum().detach()) for p, q in pairs)

    assert distance(5.0) < distance(0.0) / 2


def volumes(root: Path, parts: Parts) -> dict[str, Path]:
    for client, (images, labels) in parts.items():
        write_release(root / client, images, labels)
    return {client: root / client for client in parts}


def weights(outcome: Outcome) -> npt.NDArray[np.float32]:
    return np.concatenate([a.numpy().ravel() for a in outcome.arrays.values()])


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, digits: Digits) -> None:
    folders = volumes(tmp_path, digits(2, 60))
    one, same = simulate(folders, Settings(**SMALL)), simulate(folders, Settings(**SMALL))
    other = simulate(folders, Settings(**SMALL, seed=8))
    assert (weights(one) == weights(same)).all()
    assert [r["accuracy"] for r in one.rounds] == [r["accuracy"] for r in same.rounds]
    assert not np.allclose(weights(one), weights(other))


def test_a_federation_learns_and_reports(tmp_path: Path, digits: Digits) -> None:
    settings = Settings(**{**SMALL, "rounds": 3, "local_epochs": 3, "learning_rate": 0.05})
    outcome = simulate(volumes(tmp_path, digits(2, 150)), settings)
    assert [r["round"] for r in outcome.rounds] == [1, 2, 3]
    assert outcome.rounds[-1]["accuracy"] > 0.6 > outcome.initial["accuracy"]
    last = outcome.rounds[-1]
    assert set(last["clients"]) == {"c0", "c1"}
    for client in last["clients"].values():
        assert client["examples"] == 120
        assert client["test-examples"] == 30
        assert client["peak-memory"] > 2**20
    # The model goes out to each client and comes back.
    size = 4 * sum(a.numpy().size for a in outcome.arrays.values())
    assert last["bytes"] == pytest.approx(4 * size, rel=0.01)
    assert outcome.clients["c0"]["epsilon"] == "0.7"


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fedadam"])
def test_each_strategy_trains(tmp_path: Path, digits: Digits, name: str) -> None:
    settings = Settings(**{**SMALL, "local_epochs": 1, "proximal_mu": 2.0}, strategy=name)
    assert type(make(settings, lambda: None)).__name__.lower() == name
    outcome = simulate(volumes(tmp_path, digits(2, 60)), settings)
    assert np.isfinite(weights(outcome)).all()
    plain = simulate(volumes(tmp_path, digits(2, 60)), Settings(**{**SMALL, "local_epochs": 1}))
    assert np.allclose(weights(outcome), weights(plain)) == (name == "fedavg")


def test_a_client_that_refuses_ends_the_run_with_its_reason(tmp_path: Path, digits: Digits) -> None:
    folders = volumes(tmp_path, digits(2, 60))
    (folders["c1"] / "manifest.json").unlink()
    with pytest.raises(FederationError, match="holds no complete release"):
        simulate(folders, Settings(**SMALL))
