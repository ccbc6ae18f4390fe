"""Accuracy against epsilon: release the same raw data at many settings and train a federation on each release."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from federation.settings import Settings
from p3vc import mechanisms
from p3vc.expected import expected_error
from p3vc.keystream import Keystream
from p3vc.output import Output
from p3vc.pixelise import Grid
from p3vc.sensitivity import Domain

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Point = tuple[str, Decimal | None, int]  # mechanism, epsilon, seed
HELD_OUT = 0.2
NONE = "none"


@dataclass(frozen=True)
class Plan:
    """What is swept.

    Attributes:
        dataset: name on figures and in the table.
        block: pixelisation block side, pixels.
        neighbourhood: pixels in which neighbouring images may differ.
        clients: the training part is dealt to so many clients at random.
        epsilons: of one image's release.
        seeds: each gives another deal, other noise and another training run.
        training: run configuration but for the seed and the number of clients.
    """

    dataset: str
    block: int
    neighbourhood: int
    clients: int
    epsilons: tuple[Decimal, ...]
    seeds: tuple[int, ...]
    training: Settings

    def points(self) -> Iterator[Point]:
        """Yield mechanism, epsilon and seed of every training run."""
        for seed in self.seeds:
            yield NONE, None, seed
            for name in mechanisms.NAMES:
                for epsilon in self.epsilons:
                    yield name, epsilon, seed


def released(plan: Plan, images: Images, name: str, epsilon: Decimal | None, seed: int) -> Images:
    """Return the images as the named mechanism releases them.

    The noise follows ``seed``, so that a figure can be made again; a release in a testbed draws a secret one.
    """
    if name == NONE or epsilon is None:
        return images
    domain = Domain((images.shape[1], images.shape[2], images.shape[3]))
    mechanism = mechanisms.build(name, epsilon, plan.block, plan.neighbourhood, domain)
    key = hashlib.sha256(f"{plan.dataset}/{name}/{epsilon}/{seed}".encode()).digest()
    return mechanism.release(images, Keystream(key, "experiment"))


def errors(plan: Plan, images: Images) -> list[dict[str, Any]]:
    """Return, by mechanism and epsilon, the pixel error expected before spending and the error measured.

    Both are mean absolute errors in grey levels, against the noise-free block means; for ``paper``, which does not
    pixelise, against the raw image. It has no expected error: its scale is a function of the image.
    """
    domain = Domain((images.shape[1], images.shape[2], images.shape[3]))
    grid = Grid(domain.shape[1], domain.shape[2], plan.block)
    means = grid.image(grid.sums(images))
    rows: list[dict[str, Any]] = []
    for name in mechanisms.NAMES:
        for epsilon in plan.epsilons:
            mechanism = mechanisms.build(name, epsilon, plan.block, plan.neighbourhood, domain)
            expected = (
                expected_error(name, float(mechanism.scale), plan.block, domain)["clamped"]
                if mechanism.private
                else None
            )
            without = (means if mechanism.private else images).astype(np.int64)
            measured = [
                float(np.abs(released(plan, images, name, epsilon, seed) - without).mean()) for seed in plan.seeds
            ]
            rows.append(
                {
                    "dataset": plan.dataset,
                    "mechanism": name,
                    "epsilon": str(epsilon),
                    "expected": expected,
                    "measured": float(np.mean(measured)),
                }
            )
    return rows


def train(plan: Plan, images: Images, labels: Labels, point: Point) -> dict[str, Any]:
    """Release, train, and measure one point.

    A fifth of the raw images is held out before anything is released: ``accuracy`` is measured on it, the model's use
    on real images; ``reported`` is what the clients' own test parts, which are noisy too, would tell.
    """
    import torch  # noqa: PLC0415 - in the worker only

    from federation.data import Release  # noqa: PLC0415
    from federation.experiments.simulation import simulate  # noqa: PLC0415
    from federation.model import build  # noqa: PLC0415
    from federation.training import device, evaluate  # noqa: PLC0415

    name, epsilon, seed = point
    order = np.random.default_rng(seed).permutation(len(images))
    held, rest = np.split(order, [round(len(images) * HELD_OUT)])
    settings = plan.training.model_copy(update={"seed": seed, "num_clients": plan.clients})
    noisy = released(plan, images[rest], name, epsilon, seed)
    with tempfile.TemporaryDirectory(prefix="kubeflower-") as folder:
        folders = {}
        for number, rows in enumerate(np.array_split(np.arange(len(rest)), plan.clients)):
            place = folders[f"c{number:02}"] = Path(folder) / f"c{number:02}"
            with Output(place, (images.shape[1], images.shape[2], images.shape[3])) as output:
                output.append(noisy[rows], labels[rest][rows])
                output.publish({"claim": "experiment", "epsilon": str(epsilon), "mechanism": name})
        outcome = simulate(folders, settings)
    model = build(settings.model, settings.num_classes, seed)
    model.load_state_dict({key: torch.from_numpy(array.numpy().copy()) for key, array in outcome.arrays.items()})
    clean = Release(images, labels, "", NONE, "")
    _, accuracy = evaluate(model.to(device()), clean, held)
    return {
        "dataset": plan.dataset,
        "mechanism": name,
        "epsilon": "" if epsilon is None else str(epsilon),
        "seed": seed,
        "accuracy": accuracy,
        "reported": outcome.rounds[-1]["accuracy"],
    }


def run(plan: Plan, images: Images, labels: Labels, workers: int) -> Iterator[dict[str, Any]]:
    """Train every point of the plan, ``workers`` at a time, and yield rows as they come."""
    tasks = [(plan, images, labels, point) for point in plan.points()]
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, initializer=_one_thread) as pool:
        yield from pool.imap_unordered(_train, tasks)


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which comes later
    from flwr.supercore.logger import FLOWER_LOGGER  # noqa: PLC0415

    FLOWER_LOGGER.setLevel(logging.WARNING)


def _train(task: tuple[Plan, Images, Labels, Point]) -> dict[str, Any]:
    return train(*task)


def summarise(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean and standard deviation over seeds by mechanism and epsilon."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["mechanism"], row["epsilon"]), []).append(row)
    summary = []
    for (dataset, name, epsilon), members in groups.items():
        entry: dict[str, Any] = {"dataset": dataset, "mechanism": name, "epsilon": epsilon, "seeds": len(members)}
        for key in ("accuracy", "reported"):
            values = np.array([m[key] for m in members])
            entry[key] = float(values.mean())
            entry[f"{key}-sd"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        summary.append(entry)
    return sorted(summary, key=lambda e: (e["mechanism"], float(e["epsilon"] or "inf")))
