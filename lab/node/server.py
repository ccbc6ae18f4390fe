"""Kubelet's log endpoint, ``/containerLogs/NAMESPACE/POD/CONTAINER``, so that ``kubectl logs`` works."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from lab.node import logs
from lab.paths import Paths

Runs = Callable[[str, str, str], bool]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    paths: Paths
    runs: Runs

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        if len(parts) != 4 or parts[0] != "containerLogs" or any("/" in p or p.startswith(".") for p in parts):
            self.send_error(404, "the lab's nodes serve container logs only; for a shell use `lab exec`")
            return
        _, namespace, pod, container = parts
        file = logs.path(self.paths, namespace, pod, container, query.get("previous") == "true")
        if not file.exists():
            self.send_error(404, f"container {container} of {namespace}/{pod} has no such log")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        tail = int(query["tailLines"]) if query.get("tailLines", "").isdigit() else None
        follow = query.get("follow") == "true"
        try:
            for chunk in logs.read(file, tail, follow, lambda: type(self).runs(namespace, pod, container)):
                if chunk:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the API server logs who asked."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that is no TLS client, or left: nothing to do."""


def serve_logs(paths: Paths, runs: Runs) -> int:
    """Serve logs over TLS on a free loopback port to callers with a certificate of the lab's authority.

    Returns:
        The port.
    """
    pki = paths.run / "pki"
    handler = type("Handler", (_Handler,), {"paths": paths, "runs": staticmethod(runs)})
    server = _Server(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "kubelet.crt", pki / "kubelet.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, name="log-server", daemon=True).start()
    return int(server.server_address[1])
