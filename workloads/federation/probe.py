"""Exec probe: ask a gRPC health service whether it serves."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from federation.errors import FederationError, InputError


def probe(address: str, timeout: float) -> None:
    """Return if the service at ``address`` answers SERVING.

    Raises:
        InputError: the address is not ``host:port``.
        FederationError: it does not serve, or did not answer within ``timeout`` seconds.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--address {address!r}: expected host:port")
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout, wait_for_ready=False)
        except grpc.RpcError as error:
            raise FederationError(f"{address}: {error.code().name.lower()}: {error.details()}") from None
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise FederationError(f"{address}: {status}")
