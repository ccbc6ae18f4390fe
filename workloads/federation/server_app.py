"""The ServerApp: runs the rounds and writes the results where the run job finds them."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, Strategy

from federation import grants
from federation.results import RunFolder
from federation.rounds import Record, federate
from federation.settings import parse
from federation.strategies import make

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with every declared client and leave history, model and summary on the results volume."""
    started = time.monotonic()
    settings = parse(context.run_config)
    results = Path(settings.results)
    if settings.grant:
        grants.refuse_used(results, settings.grant)
    folder = RunFolder(results, context.run_id)
    strategy = make(settings, lambda: grants.use(results, settings.grant, context.run_id))

    from federation.model import build  # noqa: PLC0415 - torch costs seconds; a refusal above need not pay them

    initial = ArrayRecord(build(settings.model, settings.num_classes, settings.seed).state_dict())

    def report(record: Record) -> None:
        record["server-peak-memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        record |= _noise(strategy)
        folder.add_round(record)
        print(  # noqa: T201 - Flower collects the ServerApp's output as the run's log
            f"round {record['round']}/{settings.rounds}: loss {record['loss']:.4f}, "
            f"accuracy {record['accuracy']:.1%}, {record['seconds']:.1f} s, {record['bytes'] / 1e6:.1f} MB",
            flush=True,
        )

    outcome = federate(grid, strategy, initial, settings, report)
    arrays = {name: array.numpy() for name, array in outcome.arrays.items()}
    folder.finish(
        arrays,
        {
            "run": context.run_id,
            "settings": settings.to_config(),
            "initial": {"loss": outcome.initial["loss"], "accuracy": outcome.initial["accuracy"]},
            "rounds": [
                {key: r[key] for key in ("round", "loss", "accuracy", "seconds", "bytes", "peak-memory")}
                for r in outcome.rounds
            ],
            "clients": outcome.clients,
            **_noise(strategy),
            "client-accuracy": {c: v["accuracy"] for c, v in outcome.rounds[-1]["clients"].items()},
            "evaluation-seconds": outcome.evaluation_seconds,
            "seconds": time.monotonic() - started,
        },
    )


def _noise(strategy: Strategy) -> Record:
    """Return what the models made so far cost by Flower's own figure; nothing without noise.

    It is for adding or removing a client. What the ledgers were charged is in each client's provenance.
    """
    if not isinstance(strategy, DifferentialPrivacyServerSideFixedClipping):
        return {}
    spent = strategy.privacy_spent()
    if spent is None:
        return {}
    figure = {"epsilon": spent.epsilon, "delta": spent.delta, "releases": spent.num_releases}
    return {"noise-multiplier": strategy.noise_multiplier, "flower-privacy-spent": figure}
