"""Reading records from a Kubernetes API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from components.records import Cluster, parse

RECORD = {"claim": "e1-0123", "remaining": "0.1"}


def pod(phase: str, message: str) -> dict[str, Any]:
    def status(name: str, text: str) -> dict[str, Any]:
        terminated = {"exitCode": 0, "message": text}
        return {
            "name": name,
            "image": "i",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": terminated},
        }

    return {
        "metadata": {"name": "p"},
        "status": {"phase": phase, "containerStatuses": [status("sidecar", "{}"), status("release", message)]},
    }


class Api(HTTPServer):
    """Answers every list of pods with ``pods`` and keeps what was asked."""

    pods: list[dict[str, Any]]
    asked: list[str]


@pytest.fixture
def api() -> Iterator[Api]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            body = json.dumps({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": server.pods}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = Api(("127.0.0.1", 0), Handler)
    server.pods, server.asked = [], []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def cluster(port: int) -> Cluster:
    one = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {"apiVersion": "v1", "kind": "Config", "clusters": [one], "contexts": [context], "current-context": "c"}
    return Cluster(yaml.safe_dump({**config, "users": [{"name": "u", "user": {}}]}))


def test_the_record_of_the_pod_that_succeeded_is_read(api: Api) -> None:
    api.pods = [pod("Failed", '{"error": "no data"}'), pod("Succeeded", json.dumps(RECORD))]
    assert cluster(api.server_port).read("lab-client-e1", "p3vc-0123", "release") == RECORD
    (asked,) = api.asked
    assert asked.startswith("/api/v1/namespaces/lab-client-e1/pods?")
    assert "labelSelector=batch.kubernetes.io/job-name=p3vc-0123" in unquote(asked)


def test_a_pod_that_is_gone_is_said_to_be_gone(api: Api) -> None:
    note = cluster(api.server_port).read("lab-client-e1", "p3vc-0123", "release")["note"]
    assert note == "no completed pod of Job lab-client-e1/p3vc-0123 is left; its record is gone with it"


def test_an_api_that_is_away_is_asked_once_and_named() -> None:
    away = cluster(1)
    note = away.read("lab-client-e1", "p3vc-0123", "release")["note"]
    assert note.startswith("the Kubernetes API cannot be asked for records: ")
    assert away.read("lab-client-e3", "p3vc-4567", "release") == {"note": note}


@pytest.mark.parametrize("message", [None, "", "Killed", "[1]", '{"claim": '])
def test_a_message_that_is_no_record_is_said_to_be_none(message: str | None) -> None:
    assert parse(message) == {"note": "the Job left no readable record"}
