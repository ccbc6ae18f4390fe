"""Figures of the experiments, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette.
COLOURS = {"laplace": "#0072B2", "exponential": "#D55E00", "paper": "#999999", "none": "#009E73"}
MARKERS = {"laplace": "o", "exponential": "s", "paper": "^", "none": ""}
LABELS = {
    "laplace": "laplace",
    "exponential": "exponential",
    "paper": "paper (no DP claim)",
    "none": "no noise (no privacy)",
}
WIDTH = 8.0  # inches


def save(figure: Figure, path: Path) -> None:
    """Write a figure and let go of it."""
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def gallery(
    images: Mapping[str, Mapping[str, npt.NDArray[np.uint8]]],
    originals: npt.NDArray[np.uint8],
    path: Path,
    title: str,
) -> None:
    """Draw the same images at each epsilon side by side.

    Args:
        images: mechanism → epsilon → the released images, n x C x H x W.
        originals: the raw images, n x C x H x W.
        path: of the PNG.
        title: above all.
    """
    count, epsilons = len(originals), list(next(iter(images.values())))
    rows, columns = count * len(images), 1 + len(epsilons)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.05 * columns + 0.9, 1.05 * rows + 0.7), squeeze=False, layout="constrained"
    )
    figure.suptitle(title, fontsize=11)
    for block, (name, by_epsilon) in enumerate(images.items()):
        for i in range(count):
            row = axes[block * count + i]
            for axis, picture in zip(row, [originals[i], *(by_epsilon[e][i] for e in epsilons)], strict=True):
                _picture(axis, picture)
            row[0].set_ylabel(LABELS[name].replace(" (", "\n("), fontsize=8)
    for axis, text in zip(axes[0], ["raw", *(f"ε = {e}" for e in epsilons)], strict=True):
        axis.set_title(text, fontsize=9)
    save(figure, path)


def _picture(axis: Axes, picture: npt.NDArray[np.uint8]) -> None:
    pixels = picture[0] if len(picture) == 1 else np.moveaxis(picture, 0, -1)
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])


def accuracy(summary: Sequence[Mapping[str, Any]], chance: float, path: Path, title: str) -> None:
    """Draw accuracy against epsilon, on clean images and as the clients report it."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH * 1.15, 4.0), sharey=True, layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axis, key, what in zip(
        axes,
        ("accuracy", "reported"),
        ("on held-out raw images", "on the clients' own (noisy) test parts"),
        strict=True,
    ):
        for name in ("laplace", "exponential", "paper"):
            rows = [r for r in summary if r["mechanism"] == name]
            axis.errorbar(
                [float(r["epsilon"]) for r in rows],
                [100 * r[key] for r in rows],
                yerr=[100 * r[f"{key}-sd"] for r in rows],
                color=COLOURS[name],
                marker=MARKERS[name],
                label=LABELS[name],
                capsize=3,
                linestyle="--" if name == "paper" else "-",
            )
        clean = next(r for r in summary if r["mechanism"] == "none")
        axis.axhline(100 * clean[key], color=COLOURS["none"], label=LABELS["none"])
        axis.axhspan(
            100 * (clean[key] - clean[f"{key}-sd"]),
            100 * (clean[key] + clean[f"{key}-sd"]),
            color=COLOURS["none"],
            alpha=0.2,
        )
        axis.axhline(100 * chance, color="black", linestyle=":", linewidth=1, label="guessing")
        axis.set_xscale("log")
        axis.set_xlabel("ε of one image's release (log scale)")
        axis.set_title(what, fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy, %")
    axes[0].set_ylim(0, 101)
    axes[1].legend(fontsize=8, loc="best")
    save(figure, path)


def error(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw the pixel error expected before spending against the error measured."""
    figure, axis = plt.subplots(figsize=(WIDTH * 0.75, 4.2), layout="constrained")
    for name in ("laplace", "exponential", "paper"):
        members = [r for r in rows if r["mechanism"] == name]
        epsilons = [float(r["epsilon"]) for r in members]
        if members[0]["expected"] is not None:
            axis.plot(epsilons, [r["expected"] for r in members], color=COLOURS[name], label=f"{name}, expected")
        axis.plot(
            epsilons,
            [r["measured"] for r in members],
            color=COLOURS[name],
            marker=MARKERS[name],
            linestyle="--" if name == "paper" else "none",
            label=f"{LABELS[name]}, measured",
        )
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("ε of one image's release (log scale)")
    axis.set_ylabel("mean absolute error of a pixel, grey levels of 255")
    axis.set_title(title, fontsize=11)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    save(figure, path)
