"""What the API server is told, in order, however long it cannot be reached: pod statuses and events."""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable

from lab.api import Api, ApiError, Object, Unreachable, timestamp

log = logging.getLogger(__name__)


class Outbox:
    """A queue of requests, sent one after the other by a thread of its own and repeated until the server answers."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        threading.Thread(target=self._send, name="outbox", daemon=True).start()

    def put(self, request: Callable[[], object]) -> None:
        """Send ``request`` when its turn comes; a refusal is logged and ends it."""
        self._queue.put(request)

    def _send(self) -> None:
        while True:
            request = self._queue.get()
            while True:
                try:
                    request()
                except ApiError as error:
                    if error.status >= 500 or error.status == 429:
                        time.sleep(0.5)
                        continue
                    if error.status != 404:  # the object is gone: nobody to tell
                        log.warning("API server: %s", error)
                except Unreachable:
                    time.sleep(0.5)
                    continue
                except Exception:
                    log.exception("request to the API server")
                break


class Recorder:
    """Records events about pods; a repeated one counts up, as ``kubectl describe`` shows it."""

    def __init__(self, api: Api, outbox: Outbox, host: str) -> None:
        self._api, self._outbox, self._host = api, outbox, host
        self._known: dict[tuple[str, ...], tuple[str, int]] = {}

    def record(self, pod: Object, kind: str, reason: str, message: str, container: str | None = None) -> None:
        """Record an event.

        Args:
            pod: the pod it is about.
            kind: ``Normal`` or ``Warning``.
            reason: a word in CamelCase.
            message: a sentence.
            container: field path of the container it is about, as ``spec.containers{run}``.
        """
        log.info("%s/%s %s: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], reason, message)
        now, metadata = timestamp(), pod["metadata"]
        involved = {"apiVersion": "v1", "kind": "Pod", **{k: metadata[k] for k in ("name", "namespace", "uid")}}
        event = {
            "metadata": {"name": f"{metadata['name']}.{secrets.token_hex(8)}", "namespace": metadata["namespace"]},
            "involvedObject": {**involved, **({"fieldPath": container} if container else {})},
            "type": kind,
            "reason": reason,
            "message": message[:1024],  # the API's limit
            "source": {"component": "kubelet", "host": self._host},
            "reportingComponent": "kubelet",
            "reportingInstance": self._host,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._outbox.put(lambda: self._send(event))

    def _send(self, event: Object) -> None:
        metadata, involved = event["metadata"], event["involvedObject"]
        collection = f"/api/v1/namespaces/{metadata['namespace']}/events"
        key = (involved["uid"], involved.get("fieldPath", ""), event["reason"], event["message"])
        if key in self._known:
            name, count = self._known[key]
            try:
                self._api.patch(f"{collection}/{name}", {"count": count + 1, "lastTimestamp": event["lastTimestamp"]})
                self._known[key] = (name, count + 1)
                return
            except ApiError as error:
                if error.status != 404:
                    raise
        self._api.create(collection, event)
        self._known[key] = (metadata["name"], 1)
