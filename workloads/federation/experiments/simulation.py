"""A federation in one process: Flower's messages, strategies and this app's own ClientApp, without a network.

Only the transport differs from a run in the testbed, so a sweep over many settings costs training and no start-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from federation import client_app
from federation.model import build
from federation.rounds import Outcome, federate
from federation.settings import Settings
from federation.strategies import make


class InProcessGrid(Grid):
    """Hands each message to the ClientApp at once, in the order of the clients' names."""

    def __init__(self, folders: Mapping[str, Path], settings: Settings) -> None:
        self._contexts = {
            number: Context(
                run_id=1,
                node_id=number,
                node_config={"client": client, "data": str(folders[client])},
                state=RecordDict(),
                run_config=settings.to_config(),
            )
            for number, client in enumerate(sorted(folders), SUPERLINK_NODE_ID + 1)
        }
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Take no run: there is no SuperLink."""
        raise NotImplementedError

    @property
    def run(self) -> Run:
        """There is no SuperLink, hence no run."""
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the clients' numbers."""
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return the clients with their names."""
        return [NodeInfo(node_id=n, name=str(c.node_config["client"])) for n, c in self._contexts.items()]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let each client work on its message."""
        identifiers = []
        for number, message in enumerate(messages):
            identifier = f"{message.metadata.message_type}-{number}-{message.metadata.dst_node_id}"
            message.metadata.__dict__["_message_id"] = identifier  # as Flower's own grids set it
            context = self._contexts[message.metadata.dst_node_id]
            self._replies[identifier] = client_app.app(message, context)
            identifiers.append(identifier)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies."""
        return [self._replies.pop(identifier) for identifier in message_ids]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Return the replies to ``messages``."""
        return self.pull_messages(self.push_messages(messages))


def simulate(folders: Mapping[str, Path], settings: Settings, spend: Callable[[], None] = lambda: None) -> Outcome:
    """Train a federation in this process.

    Args:
        folders: private volume by client id; as many as ``settings.num_clients``.
        settings: the run configuration.
        spend: marks the grant as used, under noise; nothing is marked by default, for models that are thrown away.

    Raises:
        FederationError: as in a real run.
    """
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, SUPERLINK_NODE_ID
    initial = ArrayRecord(build(settings.model, settings.num_classes, settings.seed).state_dict())
    return federate(InProcessGrid(folders, settings), make(settings, spend), initial, settings)
