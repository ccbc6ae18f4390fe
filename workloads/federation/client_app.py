"""The ClientApp: one message a round evaluates the model it receives, then trains it.

Flower starts a process for every message, so a round costs one start-up rather than two. The evaluation is of the
global model of the round before, on the client's test part, before any local step.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import cast

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from federation import data, grants
from federation.settings import Settings, parse

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Evaluate the received model on the test part, train it on the training part, and return it."""
    return _answer(message, context, learn=True)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model on the test part."""
    return _answer(message, context, learn=False)


def _answer(message: Message, context: Context, *, learn: bool) -> Message:
    started, cpu = time.monotonic(), time.process_time()
    settings: Settings = parse(context.run_config)
    client = str(context.node_config["client"])
    folder = Path(str(context.node_config.get("data", "/private")))
    release = data.load(folder, settings.num_classes)
    grant = grants.read(folder, settings, release) if settings.grant else None
    parts = data.split(len(release.images), settings.train_fraction, settings.seed)

    from federation import model as models  # noqa: PLC0415 - torch costs seconds; a refusal above need not pay them
    from federation import training  # noqa: PLC0415

    place = training.device()
    model = models.build(settings.model, settings.num_classes, settings.seed)
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    model.to(place)
    loss, accuracy = training.evaluate(model, release, parts.test)
    metrics = MetricRecord({"test-examples": len(parts.test), "loss": loss, "accuracy": accuracy})
    reply = RecordDict()
    if learn:
        config = message.content.config_records["config"]
        metrics["train-loss"] = training.train(
            model,
            release,
            parts.train,
            epochs=settings.local_epochs,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            momentum=settings.momentum,
            proximal_mu=float(cast(float, config.get("proximal-mu", 0.0))),
            rng=training.stream(settings.seed, client, int(cast(int, config["server-round"]))),
        )
        reply["arrays"] = ArrayRecord(model.cpu().state_dict())
    metrics["num-examples"] = len(parts.train)
    metrics["weight"] = 1.0 if grant else float(len(parts.train))  # under noise the bound is for equal weights
    metrics["seconds"] = time.monotonic() - started
    metrics["cpu-seconds"] = time.process_time() - cpu
    metrics["peak-memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    reply["metrics"] = metrics
    provenance = ConfigRecord(
        {
            "client": client,
            "epsilon": release.epsilon,
            "mechanism": release.mechanism,
            "manifest": release.manifest,
            "device": place.type,
        }
    )
    if grant:
        provenance["training-claim"] = grant.claim
        provenance["training-epsilon"] = grant.epsilon
        provenance["training-delta"] = grant.delta
        provenance["noise-multiplier"] = grant.noise_multiplier
    reply["provenance"] = provenance
    return Message(reply, reply_to=message)
