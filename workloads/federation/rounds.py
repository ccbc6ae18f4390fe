"""The rounds of a training run, over whatever grid carries the messages.

Flower's own ``Strategy.start`` spends two phases a round and polls every three seconds. Here each round is one phase:
clients evaluate the model they receive and then train it, so the evaluation of round r arrives with the replies of
round r + 1, and only the last model needs a phase of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from federation.errors import FederationError
from federation.settings import Settings

POLL_SECONDS = 0.2

Record = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a training run leaves.

    Attributes:
        arrays: the final model.
        initial: loss and accuracy of the model before training, by the same measure as the rounds'.
        rounds: one record a round, as in ``history.jsonl``.
        clients: provenance by client id: epsilon, mechanism, manifest digest, device; under noise, its grant.
        evaluation_seconds: what the last evaluation took.
    """

    arrays: ArrayRecord
    initial: Record
    rounds: list[Record]
    clients: dict[str, Record]
    evaluation_seconds: float


@dataclass
class _Phase:
    """The replies of one phase, by client, in an order that does not depend on who answered first."""

    seconds: float
    replies: dict[str, Message]
    sent: dict[str, int] = field(default_factory=dict)

    def metrics(self, client: str) -> dict[str, Any]:
        return dict(self.replies[client].content["metrics"])

    def evaluation(self) -> Record:
        """Loss and accuracy of the model that was sent, weighted by test examples, and by client."""
        clients = {c: self.metrics(c) for c in self.replies}
        total = sum(m["test-examples"] for m in clients.values())
        return {
            "loss": sum(m["loss"] * m["test-examples"] for m in clients.values()) / total,
            "accuracy": sum(m["accuracy"] * m["test-examples"] for m in clients.values()) / total,
            "clients": {
                c: {"loss": m["loss"], "accuracy": m["accuracy"], "test-examples": m["test-examples"]}
                for c, m in clients.items()
            },
        }

    def cost(self) -> Record:
        """Time, bytes and memory of the phase, and by client."""
        clients: dict[str, Record] = {}
        for client, reply in self.replies.items():
            metrics = self.metrics(client)
            clients[client] = {
                "train-loss": metrics.get("train-loss"),
                "examples": metrics["num-examples"],
                "seconds": metrics["seconds"],
                "cpu-seconds": metrics["cpu-seconds"],
                "peak-memory": metrics["peak-memory"],
                "bytes": self.sent[client] + _size(reply.content),
            }
        return {
            "seconds": self.seconds,
            "bytes": sum(c["bytes"] for c in clients.values()),
            "peak-memory": max(c["peak-memory"] for c in clients.values()),
            "clients": clients,
        }


def federate(
    grid: Grid,
    strategy: Strategy,
    arrays: ArrayRecord,
    settings: Settings,
    on_round: Callable[[Record], None] = lambda record: None,
) -> Outcome:
    """Train for ``settings.rounds`` rounds and evaluate the final model.

    Args:
        grid: carries the messages.
        strategy: aggregates; every declared client takes part in every round.
        arrays: the initial model.
        settings: the run configuration.
        on_round: called with each round's record once it is complete.

    Raises:
        FederationError: a client refused or failed, or did not answer within ``settings.round_timeout``.
    """
    names = {node.node_id: node.name or str(node.node_id) for node in grid.get_nodes()}
    rounds: list[Record] = []
    initial: Record = {}
    pending: Record | None = None
    phase = None
    for number in range(1, settings.rounds + 1):
        messages = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        phase = _exchange(grid, messages, settings.round_timeout, names, f"round {number}")
        evaluation = phase.evaluation()
        if pending is None:
            initial = evaluation
        else:
            rounds.append(_merge(pending, evaluation))
            on_round(rounds[-1])
        aggregated, _ = strategy.aggregate_train(number, phase.replies.values())
        if aggregated is None:
            raise FederationError(f"round {number}: the replies could not be aggregated; the log above says why")
        arrays = aggregated
        pending = {"round": number, **phase.cost()}
    assert pending is not None and phase is not None  # noqa: S101 - settings.rounds is at least 1
    messages = strategy.configure_evaluate(settings.rounds, arrays, ConfigRecord(), grid)
    final = _exchange(grid, messages, settings.round_timeout, names, "final evaluation")
    rounds.append(_merge(pending, final.evaluation()))
    on_round(rounds[-1])
    clients = {c: dict(reply.content["provenance"]) for c, reply in phase.replies.items()}
    return Outcome(arrays, initial, rounds, clients, final.seconds)


def _merge(cost: Record, evaluation: Record) -> Record:
    clients = {c: {**evaluation["clients"].get(c, {}), **values} for c, values in cost["clients"].items()}
    head = {"round": cost["round"], "loss": evaluation["loss"], "accuracy": evaluation["accuracy"]}
    return {**head, **{k: v for k, v in cost.items() if k not in ("round", "clients")}, "clients": clients}


def _exchange(grid: Grid, messages: Iterable[Message], timeout: float, names: dict[int, str], what: str) -> _Phase:
    started = time.monotonic()
    outgoing = list(messages)
    size = _size(outgoing[0].content)
    waiting: dict[str, int] = {}
    for identifier, message in zip(grid.push_messages(outgoing), outgoing, strict=True):
        waiting[identifier] = message.metadata.dst_node_id
    replies: list[Message] = []
    while waiting:
        for reply in grid.pull_messages(list(waiting)):
            node = waiting.pop(reply.metadata.reply_to_message_id)
            if reply.has_error():
                raise FederationError(f"{what}: client {names.get(node, node)}: {_reason(reply.error.reason)}")
            replies.append(reply)
        if not waiting:
            break
        if time.monotonic() - started > timeout:
            late = ", ".join(sorted(str(names.get(node, node)) for node in waiting.values()))
            raise FederationError(f"{what}: no reply after {timeout:g} s (round-timeout) from: {late}")
        time.sleep(POLL_SECONDS)
    by_client = {str(reply.content["provenance"]["client"]): reply for reply in replies}
    if len(by_client) != len(replies):
        raise FederationError(f"{what}: two SuperNodes answer under the same client id; each needs its own")
    ordered = {client: by_client[client] for client in sorted(by_client)}
    return _Phase(time.monotonic() - started, ordered, dict.fromkeys(ordered, size))


def _size(content: RecordDict) -> int:
    """Return the bytes of the records, as Flower counts them."""
    return sum(int(record.count_bytes()) for record in content.values())


def _reason(text: str | None) -> str:
    """Strip the exception's class that Flower puts around a ClientApp's message."""
    if text is None:
        return "failed without a reason"
    match = re.fullmatch(r"<class '([\w.]+)'>:<'(.*)'>", text, re.DOTALL)
    if match is None:
        return text
    name, message = match.groups()
    return message if name.startswith("federation.") else f"{name.rsplit('.', 1)[-1]}: {message}"
