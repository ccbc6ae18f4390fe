"""A SuperNode that looks for its next message soon after the last one.

Flower's SuperNode asks the SuperLink for a message and sleeps 3 s when there is none. It asks at once after a reply,
when the round cannot be over yet, so every round of a short training ends with these 3 s. Here the pauses begin small
and grow to Flower's: a client waits a fraction of the time it has waited already, and an idle one asks no more often.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from flwr.supernode import start_client_internal as flower
from flwr.supernode.cli import flower_supernode
from flwr.supernode.fleet_http_connection import http_request_response

from federation.connection import outlast_cuts

FIRST, GROWTH, LONGEST = 0.1, 1.4, 3.0  # seconds, factor, seconds; the last is Flower's own
T = TypeVar("T")


def patient(receive: Callable[[], T | None]) -> Callable[[], T]:
    """Return ``receive`` such that it comes back with a message only."""

    def wait() -> T:
        pause = FIRST
        while (message := receive()) is None:
            time.sleep(pause)
            pause = min(pause * GROWTH, LONGEST)
        return message

    return wait


@contextmanager
def _connection(*arguments: Any) -> Iterator[tuple[Any, ...]]:
    with http_request_response(*arguments) as (node_id, receive, *rest):
        yield node_id, patient(receive), *rest


def supernode(arguments: Sequence[str]) -> None:
    """Be ``flower-supernode`` with these arguments, but ask for messages as above.

    Flower 1.41 has no setting for the pause, so what its loop asks for messages is replaced here.
    """
    outlast_cuts()
    flower.http_request_response = _connection  # type: ignore[attr-defined, assignment]
    sys.argv = ["flower-supernode", *arguments]
    flower_supernode()
