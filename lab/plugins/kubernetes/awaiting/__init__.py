"""Waiting until an object is ready, as the official provider does, saying meanwhile what is being waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from lab.plugins.kubernetes.awaiting import conditions, storage, workloads
from lab.plugins.kubernetes.awaiting.progress import Progress, View
from lab.plugins.kubernetes.cluster import Cluster, Unreachable
from lab.plugins.kubernetes.properties import Object, get
from lab.plugins.kubernetes.tokens import Kind

SKIP = "pulumi.com/skipAwait"
TIMEOUT = "pulumi.com/timeoutSeconds"
DEFAULT_TIMEOUT = 600.0  # seconds
_POLL = (0.1, 1.0)  # seconds: the first pause and the longest
_QUIET = 0.5  # seconds: a wait that is over so soon is not worth a line

_AWAITED: dict[tuple[str, str], Callable[[View], Progress]] = {
    ("", "Namespace"): conditions.namespace,
    ("", "PersistentVolume"): storage.volume,
    ("", "PersistentVolumeClaim"): storage.claim,
    ("", "Pod"): workloads.pod,
    ("", "ResourceQuota"): conditions.quota,
    ("", "Service"): conditions.service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): conditions.definition,
    ("apps", "DaemonSet"): workloads.daemon_set,
    ("apps", "Deployment"): workloads.deployment,
    ("apps", "StatefulSet"): workloads.stateful_set,
    ("batch", "Job"): workloads.job,
}


class NotReady(Exception):  # noqa: N818 - the object is there, it is just not ready
    """An object was made but did not become ready.

    Attributes:
        live: the object as it was last seen.
    """

    def __init__(self, reason: str, live: Object) -> None:
        super().__init__(reason)
        self.live = live


class Waiting:
    """How long to wait, whom to tell, and when to give up.

    Args:
        cluster: the API server.
        cancelled: set when the engine wants every wait to end.
        say: shows a person what is being waited for.
        seconds: the resource's own timeout, 0 for none.
    """

    def __init__(
        self, cluster: Cluster, cancelled: threading.Event, say: Callable[[str], None], seconds: float
    ) -> None:
        self.cluster = cluster
        self._cancelled = cancelled
        self._say = say
        self._seconds = seconds

    def until_ready(self, kind: Kind, live: Object, inputs: Object) -> Object:
        """Waits until an object is ready.

        Returns:
            The object as it then is.

        Raises:
            NotReady: it failed, or the time is over, or the engine cancelled the wait.
        """
        progress_of = _AWAITED.get((kind.group, kind.kind))
        if progress_of is None or skipped(inputs):
            return live
        name = live["metadata"]["name"]
        namespace = live["metadata"].get("namespace")

        def look() -> Progress:
            nonlocal live
            live = self.cluster.get(kind, namespace, name) or {}
            if not live:
                return Progress(failure=f"{kind.kind} {name} was deleted while it was being waited for")
            return progress_of(View(self.cluster, live))

        # The answer to the apply may be ready already (a Service without a selector): then nothing is asked.
        progress = progress_of(View(self.cluster, live))
        if not progress.done:
            progress = self._poll(look, self.timeout(inputs), f"{kind.kind} {name} is ready")
        if progress.done:
            return live
        raise NotReady(progress.failure, live)

    def until_gone(self, kind: Kind, namespace: str | None, name: str, uid: str, inputs: Object) -> None:
        """Waits until an object is deleted.

        Raises:
            NotReady: the time is over, or the engine cancelled the wait.
        """
        if skipped(inputs):
            return
        live: Object = {}

        def look() -> Progress:
            nonlocal live
            live = self.cluster.get(kind, namespace, name) or {}
            if not live or live["metadata"].get("uid") != uid:
                return Progress(done=True)
            return Progress(message=f"Waiting for {kind.kind} {name} to be deleted{_held(live)}")

        progress = self._poll(look, self.timeout(inputs), f"{kind.kind} {name} is deleted")
        if not progress.done:
            raise NotReady(progress.failure, live)

    def retry(
        self, attempt: Callable[[], Any], *, while_failing: Callable[[Exception], str | None], seconds: float
    ) -> Any:
        """Repeats an attempt while its failure is one that passes by itself.

        Args:
            attempt: what to do.
            while_failing: says what is being waited for, or ``None`` where the failure is final.
            seconds: for how long.
        """
        end = time.monotonic() + seconds
        pause = _POLL[0]
        while True:
            try:
                return attempt()
            except Exception as error:
                message = while_failing(error)
                if message is None or time.monotonic() > end or self._cancelled.is_set():
                    raise
                self._say(message)
            self._cancelled.wait(pause)
            pause = min(2 * pause, _POLL[1])

    def timeout(self, inputs: Object) -> float:
        """The seconds to wait: of the resource's ``customTimeouts``, its annotation, or the default."""
        if self._seconds:
            return self._seconds
        annotated = str(get(inputs, "metadata", "annotations", TIMEOUT, default=""))
        return float(annotated) if annotated.isdigit() else DEFAULT_TIMEOUT

    def _poll(self, look: Callable[[], Progress], seconds: float, success: str) -> Progress:
        start = time.monotonic()
        pause, said = _POLL[0], ""
        while True:
            try:
                progress = look()
            except Unreachable as error:  # a server that restarts: the wait goes on
                progress = Progress(message=f"Waiting for the API server: {error}")
            if progress.failure:
                return progress
            if progress.done:
                if said:
                    self._say(success)
                return progress
            waited = time.monotonic() - start
            if progress.message != said and waited > _QUIET:
                said = progress.message
                self._say(said)
            if waited >= seconds:
                return Progress(failure=f"timed out after {seconds:g} s: {progress.message}")
            if self._cancelled.wait(min(pause, seconds - waited)):
                return Progress(failure=f"cancelled: {progress.message}")
            pause = min(1.5 * pause, _POLL[1])


def skipped(inputs: Object) -> bool:
    """Whether a resource says that it is not to be waited for."""
    return str(get(inputs, "metadata", "annotations", SKIP)).lower() == "true"


def _held(live: Object) -> str:
    finalizers = live["metadata"].get("finalizers")
    return f" (held by {', '.join(finalizers)})" if finalizers else ""
