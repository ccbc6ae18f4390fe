"""Posting a comment, against a server on the loopback that answers as GitHub's REST API does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from testbed import cli
from testbed.report import pull_request

TOKEN = "test-token"


class GitHub(ThreadingHTTPServer):
    """Issue comments of one repository, paged."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.comments: list[dict[str, Any]] = []
        self.calls: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: GitHub

    def _answer(self, status: int, data: object) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _serve(self) -> None:
        path = urlsplit(self.path)
        self.server.calls.append(self.command)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(403, {"message": "Resource not accessible by integration"})
        length = int(self.headers["Content-Length"] or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        if self.command == "GET":
            query = parse_qs(path.query)
            size, page = int(query["per_page"][0]), int(query["page"][0])
            return self._answer(200, self.server.comments[(page - 1) * size : page * size])
        if self.command == "POST":
            assert path.path == "/repos/o/r/issues/7/comments"
            self.server.comments.append({"id": 1000 + len(self.server.comments), **body, "html_url": "http://c"})
            return self._answer(201, self.server.comments[-1])
        found = next(c for c in self.server.comments if path.path == f"/repos/o/r/issues/comments/{c['id']}")
        found.update(body)
        return self._answer(200, found)

    do_GET = do_POST = do_PATCH = _serve  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    server = GitHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.setenv("GITHUB_API_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _comment(path: Path, text: str) -> int:
    path.write_text(f"{pull_request.marker('lab')}\n{text}\n")
    return cli.main(["comment", "--stack", "lab", "--number", "7", str(path)])


def test_one_comment_is_posted_then_edited(github: GitHub, tmp_path: Path) -> None:
    github.comments += [{"id": i, "body": f"talk {i}"} for i in range(150)]  # ours will be on the second page
    assert _comment(tmp_path / "r.md", "first") == cli.OK
    assert _comment(tmp_path / "r.md", "second") == cli.OK
    ours = [c for c in github.comments if "kubeflower preview" in c["body"]]
    assert len(ours) == 1
    assert "second" in ours[0]["body"]
    assert github.calls.count("POST") == 1


def test_another_environments_comment_is_left_alone(github: GitHub, tmp_path: Path) -> None:
    github.comments.append({"id": 1, "body": f"{pull_request.marker('cloud-edge')}\nother"})
    assert _comment(tmp_path / "r.md", "mine") == cli.OK
    assert github.comments[0]["body"].endswith("other")


def test_a_refusal_says_what_to_do_and_hides_the_token(
    github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "wrong-secret")
    assert _comment(tmp_path / "r.md", "x") == cli.VIOLATIONS
    error = capsys.readouterr().err
    assert "403" in error
    assert "pull-requests: write" in error
    assert "wrong-secret" not in error


def test_outside_a_workflow_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert _comment(tmp_path / "r.md", "x") == cli.UNREADABLE
    assert "GITHUB_TOKEN" in capsys.readouterr().err
