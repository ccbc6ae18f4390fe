"""Local training and evaluation on one client."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from federation.data import Release
from federation.model import to_input

EVALUATION_BATCH = 256


def device() -> torch.device:
    """Return the GPU when there is one.

    Results are the same for the same seed, device and number of threads (``OMP_NUM_THREADS``).
    """
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        return torch.device("cuda")
    return torch.device("cpu")


def stream(seed: int, client: str, server_round: int) -> np.random.Generator:
    """Return the generator of a client's batches in a round, independent of every other client's and round's."""
    digest = hashlib.sha256(f"{seed}/{client}/{server_round}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8]))


def train(
    model: nn.Module,
    release: Release,
    rows: npt.NDArray[np.intp],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    proximal_mu: float,
    rng: np.random.Generator,
) -> float:
    """Train in place with SGD on cross-entropy and return the mean loss of the last epoch.

    Args:
        model: on the device where it is to be trained.
        release: images and labels.
        rows: the training part.
        epochs: passes over it.
        batch_size: images a step.
        learning_rate: of SGD.
        momentum: of SGD.
        proximal_mu: weight of ``mu/2 ‖w - w_global‖²``; 0 leaves the term out. Source: Li et al., Federated
            Optimization in Heterogeneous Networks (FedProx), eq. 2.
        rng: orders the batches.
    """
    place = next(model.parameters()).device
    anchor = [p.detach().clone() for p in model.parameters()] if proximal_mu > 0 else []
    step = _Sgd(model, learning_rate, momentum)
    model.train()
    mean = 0.0
    for _ in range(epochs):
        total = 0.0
        for images, labels in _batches(release, rng.permutation(rows), batch_size, place):
            loss = nn.functional.cross_entropy(model(images), labels)
            total += loss.item() * len(labels)
            if anchor:
                distance = [((p - q) ** 2).sum() for p, q in zip(model.parameters(), anchor, strict=True)]
                loss = loss + proximal_mu / 2 * torch.stack(distance).sum()
            model.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            step()
        mean = total / len(rows)
    return mean


class _Sgd:
    """SGD with momentum, as ``torch.optim.SGD`` does it.

    Creating any ``torch.optim`` optimizer imports torch's compiler, 1.4 s of CPU that every message would pay.
    """

    def __init__(self, model: nn.Module, learning_rate: float, momentum: float) -> None:
        self._parameters = list(model.parameters())
        self._velocity = [torch.zeros_like(p) for p in self._parameters]
        self._learning_rate = learning_rate
        self._momentum = momentum

    @torch.no_grad()
    def __call__(self) -> None:
        for parameter, velocity in zip(self._parameters, self._velocity, strict=True):
            if parameter.grad is not None:
                velocity.mul_(self._momentum).add_(parameter.grad)
                parameter.add_(velocity, alpha=-self._learning_rate)


@torch.no_grad()
def evaluate(model: nn.Module, release: Release, rows: npt.NDArray[np.intp]) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy (0 to 1) on ``rows``."""
    place = next(model.parameters()).device
    model.eval()
    loss, correct = 0.0, 0
    for images, labels in _batches(release, rows, EVALUATION_BATCH, place):
        logits = model(images)
        loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
        correct += int((logits.argmax(1) == labels).sum())
    return loss / len(rows), correct / len(rows)


def _batches(
    release: Release, rows: npt.NDArray[np.intp], size: int, place: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        yield to_input(release.images[chosen], place), torch.from_numpy(release.labels[chosen]).to(place)
