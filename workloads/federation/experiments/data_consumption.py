"""The paper's experiment 3: what a release at each epsilon looks like, and what can still be learned from it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from federation.errors import InputError
from federation.experiments import figures, sweep
from federation.experiments.sweep import Images, Labels, Plan
from federation.progress import Progress
from federation.settings import Settings
from p3vc import mechanisms

EPSILONS = tuple(Decimal(e) for e in ("0.1", "0.7", "1", "3", "10"))
SHOWN = 2  # images in the gallery
DIGITS = Plan(
    dataset="digits",
    block=2,
    neighbourhood=1,
    clients=3,
    epsilons=EPSILONS,
    seeds=(1, 2, 3),
    training=Settings(rounds=3, local_epochs=2, learning_rate=0.03, batch_size=16),
)
CIFAR10 = replace(
    DIGITS,
    dataset="cifar10",
    block=8,
    neighbourhood=16,
    training=Settings(rounds=4, local_epochs=4, learning_rate=0.03, batch_size=16),
)


def digits() -> tuple[Images, Labels]:
    """Return scikit-learn's 1797 real digits, 1 x 8 x 8, grey levels 0 to 255."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - seconds of imports

    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None], bunch.target.astype(np.int64)


def cifar10(folder: Path, count: int) -> tuple[Images, Labels]:
    """Return the first ``count`` images of a CIFAR-10 folder.

    Raises:
        InputError: the folder holds no CIFAR-10, or a damaged one.
    """
    from p3vc.errors import P3VCError  # noqa: PLC0415
    from p3vc.formats import open_source  # noqa: PLC0415

    try:
        images, labels = [], []
        for batch in open_source(folder, "cifar10").batches(1000):
            images.append(batch.images)
            labels.append(batch.labels)
            if sum(map(len, labels)) >= count:
                break
    except P3VCError as error:
        raise InputError(f"--cifar10 {folder}: {error}") from None
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]


def run(plan: Plan, images: Images, labels: Labels, *, out: Path, workers: int, progress: Progress) -> str:
    """Make the figures and tables of one dataset under ``out`` and return its part of the page."""
    out.mkdir(parents=True, exist_ok=True)
    stem = f"data-consumption-{plan.dataset}"
    chosen = images[[int(np.flatnonzero(labels == label)[0]) for label in range(3, 3 + SHOWN)]]
    shown = {
        name: {str(e): sweep.released(plan, chosen, name, e, plan.seeds[0]) for e in plan.epsilons}
        for name in mechanisms.NAMES
    }
    figures.gallery(shown, chosen, out / f"{stem}-images.png", f"{plan.dataset}: released images, {_relation(plan)}")
    progress.say(f"{plan.dataset}: images at {len(plan.epsilons)} epsilons drawn")

    measured = sweep.errors(plan, images)
    _table(out / f"{stem}-error.csv", measured)
    figures.error(measured, out / f"{stem}-error.png", f"{plan.dataset}: error expected before spending, and measured")
    progress.say(f"{plan.dataset}: error against expectation measured on {len(images)} images")

    total, rows = len(list(plan.points())), []
    for row in sweep.run(plan, images, labels, workers):
        rows.append(row)
        progress.tick(f"{plan.dataset}: {len(rows)} of {total} federations trained")
    rows.sort(key=lambda r: (r["mechanism"], float(r["epsilon"] or "inf"), r["seed"]))
    _table(out / f"{stem}-accuracy.csv", rows)
    summary = sweep.summarise(rows)
    chance = float(np.bincount(labels).max() / len(labels))
    title = f"{plan.dataset}: accuracy of the federated model, {_relation(plan)}, mean ± sd of {len(plan.seeds)} seeds"
    figures.accuracy(summary, chance, out / f"{stem}-accuracy.png", title)
    progress.say(f"{plan.dataset}: {total} federations trained")
    return _section(plan, len(images), stem, summary, measured)


def _relation(plan: Plan) -> str:
    pixels = "1 pixel" if plan.neighbourhood == 1 else f"{plan.neighbourhood} pixels"
    return f"b = {plan.block}, m = {pixels}"


def _table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def write_page(path: Path, sections: Sequence[str]) -> None:
    """Write the page: how to read the figures, then each dataset's part."""
    introduction = Path(__file__).with_name("data-consumption.md").read_text(encoding="utf-8")
    path.write_text(introduction + "\n".join(sections), encoding="utf-8")


def _section(
    plan: Plan, count: int, stem: str, summary: Sequence[dict[str, Any]], measured: Sequence[dict[str, Any]]
) -> str:
    t = plan.training
    errors = {(r["mechanism"], r["epsilon"]): r for r in measured}
    lines = [
        f"## {plan.dataset}",
        "",
        f"{count} images; pixelised in blocks of {plan.block} x {plan.block}; neighbours differ in at most "
        f"{plan.neighbourhood} pixel{'s' * (plan.neighbourhood > 1)}. {plan.clients} clients, {t.rounds} rounds of "
        f"{t.local_epochs} local epochs, batch {t.batch_size}, learning rate {t.learning_rate:g}, {t.strategy}; "
        f"{len(plan.seeds)} seeds.",
        "",
        f"![Released images]({stem}-images.png)",
        "",
        f"![Accuracy against epsilon]({stem}-accuracy.png)",
        "",
        f"![Expected and measured error]({stem}-error.png)",
        "",
        "| mechanism | ε | accuracy, % | reported, % | expected error | measured error |",
        "|---|---|---|---|---|---|",
    ]
    for row in summary:
        error = errors.get((row["mechanism"], row["epsilon"]))
        expected, found = ("", "") if error is None else (_number(error["expected"]), _number(error["measured"]))
        lines.append(
            f"| {row['mechanism']} | {row['epsilon'] or '∞'} | {_percent(row, 'accuracy')} "
            f"| {_percent(row, 'reported')} | {expected} | {found} |"
        )
    lines += ["", f"Data: [accuracy]({stem}-accuracy.csv), [error]({stem}-error.csv).", ""]
    return "\n".join(lines)


def _percent(row: dict[str, Any], key: str) -> str:
    return f"{100 * row[key]:.1f} ± {100 * row[f'{key}-sd']:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
