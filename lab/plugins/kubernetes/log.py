"""The engine's log: what a person sees beside a resource while it is worked on."""

from __future__ import annotations

import contextlib
import threading

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc


class EngineLog:
    """Sends messages to the engine; a message that cannot be sent is lost, not an error."""

    def __init__(self, address: str) -> None:
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address)) if address else None
        self._lock = threading.Lock()
        self._warned: set[str] = set()

    def status(self, urn: str, message: str) -> None:
        """Shows what a resource is waiting for."""
        self._send(engine_pb2.INFO, urn, message, ephemeral=True)

    def warn_once(self, message: str) -> None:
        """Warns about the whole stack, once however many resources meet the reason."""
        with self._lock:
            if message in self._warned:
                return
            self._warned.add(message)
        self._send(engine_pb2.WARNING, "", message, ephemeral=False)

    def _send(self, severity: engine_pb2.LogSeverity.ValueType, urn: str, message: str, *, ephemeral: bool) -> None:
        if self._engine is None:
            return
        with contextlib.suppress(grpc.RpcError):
            self._engine.Log(engine_pb2.LogRequest(severity=severity, urn=urn, message=message, ephemeral=ephemeral))
