"""The paper's experiment 1: where the time goes, and what a round costs."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from contract.files import SUMMARY
from federation.errors import InputError
from federation.experiments.figures import COLOURS, WIDTH, save
from federation.results import read_history, read_summary

STEM = "performance"


def find_run(results: Path) -> Path:
    """Return the run folder ``results`` is, or the newest complete one in it.

    Raises:
        InputError: there is none.
    """
    if (results / SUMMARY).is_file():
        return results
    complete = [p.parent for p in results.glob(f"run-*/{SUMMARY}")]
    if not complete:
        raise InputError(f"--results {results}: holds no complete run (run-*/{SUMMARY})")
    return max(complete, key=lambda p: (p / SUMMARY).stat().st_mtime_ns)


def read_steps(path: Path) -> dict[str, float]:
    """Return the seconds of each step before the training, in the order of the file.

    Args:
        path: JSON object from the step's name to its seconds, such as ``{"deploy": 21.4, "prepare data": 6.2}``.

    Raises:
        InputError: it is not that.
    """
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(seconds) for name, seconds in steps.items()}
    except OSError as error:
        raise InputError(f"--deploy {path}: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"--deploy {path}: expected a JSON object from step to seconds") from None


def run(results: Path, deploy: Path, out: Path) -> None:
    """Write the table, the figure and the page of a run.

    Args:
        results: a run's folder, or the results volume.
        deploy: what came before the training; see ``read_steps``.
        out: folder of the page.

    Raises:
        FederationError: an input is missing or damaged.
    """
    folder = find_run(results)
    steps, summary, history = read_steps(deploy), read_summary(folder), read_history(folder)
    steps = {**steps, "train": float(summary["seconds"])}
    out.mkdir(parents=True, exist_ok=True)
    rows = [_row(r) for r in history]
    with (out / f"{STEM}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _figure(steps, rows, out / f"{STEM}.png")
    (out / f"{STEM}.md").write_text(_page(steps, summary, rows), encoding="utf-8")


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    clients = record["clients"].values()
    return {
        "round": record["round"],
        "accuracy": round(record["accuracy"], 4),
        "loss": round(record["loss"], 4),
        "seconds": round(record["seconds"], 2),
        "slowest client's work, s": round(max(c["seconds"] for c in clients), 2),
        "CPU of all clients' work, s": round(sum(c["cpu-seconds"] for c in clients), 2),
        "peak memory of a client, MB": round(record["peak-memory"] / 1e6),
        "peak memory of the ServerApp, MB": round(record["server-peak-memory"] / 1e6),
        "sent and received, MB": round(record["bytes"] / 1e6, 2),
    }


def _figure(steps: Mapping[str, float], rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(WIDTH * 1.4, 3.6), layout="constrained")
    names = list(steps)
    bars = left.barh(names[::-1], [steps[n] for n in names[::-1]], color=COLOURS["laplace"])
    left.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    left.margins(x=0.18)
    left.set_xlabel("seconds")
    left.set_title("From nothing to a trained model", fontsize=10)

    rounds = [r["round"] for r in rows]
    whole, work = [r["seconds"] for r in rows], [r["slowest client's work, s"] for r in rows]
    middle.bar(rounds, work, color=COLOURS["none"], label="slowest client: load, evaluate, train")
    rest = [max(w - x, 0) for w, x in zip(whole, work, strict=True)]
    middle.bar(rounds, rest, bottom=work, color=COLOURS["paper"], label="start of processes, polling, messages")
    cpu = [r["CPU of all clients' work, s"] for r in rows]
    middle.plot(rounds, cpu, color=COLOURS["exponential"], marker="s", label="CPU of all clients' work")
    middle.set_xticks(rounds)
    middle.set_xlabel("round")
    middle.set_ylabel("seconds")
    middle.set_ylim(top=1.45 * max(*whole, *cpu))
    middle.set_title("A round", fontsize=10)
    middle.legend(fontsize=7, loc="upper center")

    for key, colour in (
        ("peak memory of a client, MB", COLOURS["exponential"]),
        ("peak memory of the ServerApp, MB", COLOURS["laplace"]),
    ):
        right.plot(rounds, [r[key] for r in rows], color=colour, marker="o", label=key.removesuffix(", MB"))
    right.set_xticks(rounds)
    right.set_ylim(0, 1.3 * max(r["peak memory of a client, MB"] for r in rows))
    right.set_xlabel("round")
    right.set_ylabel("MB")
    right.set_title("Memory", fontsize=10)
    right.legend(fontsize=8)
    save(figure, path)


def _page(steps: Mapping[str, float], summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    s = summary["settings"]
    lines = [
        f"{s['num-clients']} clients, {s['rounds']} rounds of {s['local-epochs']} local epochs, "
        f"batch {s['batch-size']}, strategy {s['strategy']}.",
        "",
        "| step | seconds |",
        "|---|---|",
        *(f"| {name} | {seconds:.1f} |" for name, seconds in steps.items()),
        "",
        "| " + " | ".join(rows[0]) + " |",
        "|" + "---|" * len(rows[0]),
        *("| " + " | ".join(str(v) for v in row.values()) + " |" for row in rows),
        "",
        f"Data: [{STEM}.csv]({STEM}.csv).",
        "",
    ]
    return Path(__file__).with_name(f"{STEM}.md").read_text(encoding="utf-8") + "\n".join(lines)
