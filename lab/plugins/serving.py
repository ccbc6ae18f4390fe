"""What every Pulumi plugin does alike: serve gRPC on a free loopback port, print the port, end with the engine."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent import futures

import grpc

# A worker waits for as long as its resource does, so there must be more workers than resources wait at one time.
_WORKERS = 512
_MESSAGE_LIMIT = 400 * 1024 * 1024  # bytes; the engine's own limit
_PARENT_CHECK = 2.0  # seconds


def serve(register: Callable[[grpc.Server], None], stop: Callable[[], None]) -> int:
    """Serves a plugin until the engine ends it.

    Args:
        register: adds the plugin's service to the server.
        stop: tells the service to abandon what it is doing.

    Returns:
        The exit status of the plugin.
    """
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=_WORKERS),
        options=[
            ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
            ("grpc.max_send_message_length", _MESSAGE_LIMIT),
        ],
    )
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    # An engine that is killed sends no signal: its plugin then belongs to another parent, and must end too.
    parent = os.getppid()
    while not ended.wait(_PARENT_CHECK) and os.getppid() == parent:
        pass
    stop()
    server.stop(grace=1.0).wait()
    return 0


def engine_address(arguments: list[str]) -> str:
    """Finds the engine's address among a plugin's arguments: the last one that is not an option."""
    positional = [argument for argument in arguments if not argument.startswith("-")]
    return positional[-1] if positional else ""
