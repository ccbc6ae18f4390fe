"""The Kubernetes API as plain dictionaries: reads, writes, and a watch that outlives API server restarts."""

from __future__ import annotations

import datetime as dt
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import HTTPError

from lab.controlplane import api
from lab.paths import Paths

Object = dict[str, Any]
Unreachable = (HTTPError, OSError)
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"

log = logging.getLogger(__name__)


def timestamp(micro: bool = False) -> str:
    """Return the present time as the API writes it (RFC 3339, UTC), to the second or the microsecond."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


class ApiError(Exception):
    """The API server refused a request; ``status`` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A client of the lab's API server.

    Methods raise ``ApiError`` when the server refuses and one of ``Unreachable`` when it cannot be reached.
    """

    def __init__(self, paths: Paths) -> None:
        connection = api(paths)  # the official client reads the kubeconfig; its pool has the certificates
        self._pool = connection.rest_client.pool_manager
        self._host: str = connection.configuration.host

    def _request(self, method: str, path: str, read: float = 30, **options: Any) -> BaseHTTPResponse:
        response: BaseHTTPResponse = self._pool.request(
            method, self._host + path, timeout=Timeout(connect=10, read=read), retries=False, **options
        )
        if response.status >= 400:
            try:
                message = str(json.loads(response.data)["message"])
            except (ValueError, KeyError, TypeError):
                message = response.data.decode(errors="replace") or str(response.status)
            raise ApiError(response.status, message)
        return response

    def _call(self, method: str, path: str, body: Object | None = None, content: str = "application/json") -> Object:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "Content-Type": content}
        return dict(json.loads(self._request(method, path, body=data, headers=headers).data))

    def get(self, path: str) -> Object:
        """Read an object or a list."""
        return self._call("GET", path)

    def create(self, path: str, body: Object) -> Object:
        """Create an object in the collection at ``path``."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: Object, content: str = STRATEGIC) -> Object:
        """Patch the object at ``path``."""
        return self._call("PATCH", path, body, content)

    def delete(self, path: str, body: Object) -> Object:
        """Delete the object at ``path`` with the given ``DeleteOptions``."""
        return self._call("DELETE", path, body)

    def ensure(self, collection: str, body: Object) -> None:
        """Create an object, or merge it into the one that is there."""
        try:
            self.create(collection, body)
        except ApiError as error:
            if error.status != 409:
                raise
            self.patch(f"{collection}/{body['metadata']['name']}", body)

    def follow(self, path: str) -> Iterator[tuple[str, Object]]:
        """Yield ``("SYNC", list)`` and then every change below ``path``; list again whenever the watch was lost."""
        while True:
            try:
                everything = self.get(path)
                yield "SYNC", everything
                yield from self._watch(path, everything["metadata"]["resourceVersion"])
            except (ApiError, *Unreachable) as error:
                log.warning("watch of %s: %s", path, _short(error))
                time.sleep(0.5)

    def _watch(self, path: str, version: str) -> Iterator[tuple[str, Object]]:
        while True:
            query = f"?watch=true&resourceVersion={version}&timeoutSeconds=300"
            response = self._request("GET", path + query, read=330, preload_content=False)
            pending = b""
            for chunk in response.stream(None):
                *lines, pending = (pending + chunk).split(b"\n")
                for event in map(json.loads, filter(None, lines)):
                    if event["type"] == "ERROR":
                        raise ApiError(event["object"].get("code", 500), str(event["object"].get("message")))
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield event["type"], event["object"]


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
