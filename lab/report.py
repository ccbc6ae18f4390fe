"""A deployed testbed as its team reads it: tables from the stack's outputs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

NOTHING = "\N{EN DASH}"
NARROWEST = 150  # columns in which the client table fits on one line a client


def console() -> Console:
    """A console wide enough for the tables where the output is no terminal."""
    width = shutil.get_terminal_size((NARROWEST, 24)).columns
    return Console(width=width, highlight=False, soft_wrap=False)


def table(title: str, *columns: str) -> Table:
    """An unframed table that fits a terminal."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def _text(value: object) -> str:
    return NOTHING if value is None else str(value)


def clients(outputs: Mapping[str, Any]) -> Table:
    """One line a client: where it is, how it is reached, and what its data cost: its release, and noisy training."""
    noisy = any(one["trainingEpsilon"] for one in outputs["clients"].values())
    costs = ("ε", "training ε", "training δ") if noisy else ("ε",)
    columns = ("client", "node", "namespace", "VPC", "subnet", "address", "server", *costs, "budget left", "records")
    found = table("Clients", *columns)
    for name, one in sorted(outputs["clients"].items(), key=lambda item: int(item[1]["slot"])):
        left = f"{_text(one['budgetLeft'])} of {one['budget']}"
        subnet = f"{one['subnet']} {one['cidr']}"
        cells = (name, one["node"], one["namespace"], one["vpc"], subnet, one["address"], one["serverAddress"])
        spent = (one["epsilon"], one["trainingEpsilon"], one["trainingDelta"])[: len(costs)]
        found.add_row(*map(_text, (*cells, *spent, left, one["records"])))
    return found


def rounds(outputs: Mapping[str, Any]) -> Table:
    """The federation's progress: accuracy and loss on the clients' held-out records."""
    found = table("Federation", "round", "accuracy", "loss", "seconds", "MB moved")
    for one in outputs["federation"]["rounds"]:
        accuracy, loss, seconds, size = (one.get(key) for key in ("accuracy", "loss", "seconds", "bytes"))
        found.add_row(
            str(one["round"]),
            NOTHING if accuracy is None else f"{accuracy:.1%}",
            NOTHING if loss is None else f"{loss:.4f}",
            NOTHING if seconds is None else f"{seconds:.1f}",
            NOTHING if size is None else f"{size / 1e6:.2f}",
        )
    return found


def show(outputs: Mapping[str, Any]) -> None:
    """Print the tables of a deployed testbed."""
    out, server = console(), outputs["server"]
    out.print()
    out.print(clients(outputs))
    for name, one in outputs["clients"].items():
        if one.get("note"):
            out.print(f"client {name}: {one['note']}")
    out.print()
    where = f"{server['endpoint']} (node port {server['nodePort']}), in the cluster {server['address']}"
    out.print(f"[bold]Server[/bold]  {where}")
    out.print()
    if outputs["federation"]["rounds"]:
        out.print(rounds(outputs))
    else:
        out.print(f"[bold]Federation[/bold]  {outputs['federation'].get('note') or 'no rounds recorded'}")
    out.print()
