"""Flower's own client against a real TLS server that ends its first connections too soon."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import httpx
import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.retry import http_retry, make_simple_http_retry_invoker
from flwr.supercore.retry.retry_invoker import RetryInvoker

from federation.connection import outlast_cuts
from tests.federation.loopback import write_certificates


class Server(threading.Thread):
    """Answers every request, but ends its first ``cuts`` connections in the middle of the handshake."""

    def __init__(self, folder: Path, cuts: int) -> None:
        super().__init__(daemon=True)
        self.connections = 0
        self._cuts = cuts
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "tls" / "tls.crt", folder / "tls" / "tls.key")
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):  # the listening socket's end
            while True:
                plain, _ = self._socket.accept()
                self.connections += 1
                if self.connections <= self._cuts:
                    plain.recv(65536)  # the client's hello
                    plain.close()
                    continue
                with contextlib.suppress(ssl.SSLError):  # a client that does not trust this server
                    _answer(self._context.wrap_socket(plain, server_side=True))

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _answer(connection: ssl.SSLSocket) -> None:
    while b"\r\n\r\n" not in connection.recv(65536):
        pass
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    connection.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(http_retry, "RetryInvoker", RetryInvoker)  # as Flower has it, again after the test too
    for name in ("ca", "tls"):
        (tmp_path / name).mkdir()
    write_certificates(tmp_path)
    return tmp_path


def _ask(folder: Path, server: Server) -> None:
    client = ProtobufClient.from_server_address(
        f"127.0.0.1:{server.port}",
        insecure=False,
        root_certificates=(folder / "ca" / "ca.crt").read_bytes(),
        interceptors=[],
        retry_invoker=make_simple_http_retry_invoker(),
    )
    client._unary_unary(
        path="/v1/pull", rpc_method="Pull", request=PullMessagesRequest(), response_type=PullMessagesResponse
    )


def test_a_cut_handshake_is_the_end_for_flower_alone(folder: Path) -> None:
    server = Server(folder, cuts=1)
    with pytest.raises(httpx.ConnectError, match="UNEXPECTED_EOF_WHILE_READING"):
        _ask(folder, server)
    server.stop()


def test_a_request_whose_handshake_was_cut_is_repeated(folder: Path) -> None:
    outlast_cuts()
    server = Server(folder, cuts=2)
    _ask(folder, server)
    assert server.connections == 3
    server.stop()


def test_a_certificate_of_another_authority_is_still_the_end(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outlast_cuts()
    other = tmp_path_factory.mktemp("other")
    for name in ("ca", "tls"):
        (other / name).mkdir()
    write_certificates(other)
    server = Server(folder, cuts=0)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        _ask(other, server)
    server.stop()
