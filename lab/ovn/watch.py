"""A cache of the cluster's objects that is kept current by watches."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from lab.api import Api
from lab.ovn.cluster import Cluster, Object, name, namespace
from lab.paths import Paths


class Watched:
    """The objects of some collections, and a signal that something changed.

    Args:
        paths: the lab.
        collections: API path of each collection by kind, for example ``{"Pod": "/api/v1/pods"}``.
    """

    def __init__(self, paths: Paths, collections: dict[str, str]) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in collections}
        self._listed: set[str] = set()
        self._expected = set(collections)
        self._changed = threading.Event()
        for kind, path in collections.items():
            threading.Thread(target=self._follow, args=(kind, path), daemon=True, name=f"watch-{kind}").start()

    def wait(self, timeout: float) -> bool:
        """Return when something changed or after ``timeout`` seconds; False until every collection was listed once."""
        self._changed.wait(timeout)
        self._changed.clear()
        return self._listed >= self._expected

    def cluster(self, more: Iterable[Object] = ()) -> Cluster:
        """The objects now, with some more."""
        with self._lock:
            return Cluster.of([*(obj for found in self._objects.values() for obj in found.values()), *more])

    def wrote(self, kind: str, obj: Object) -> None:
        """Remember what the API server answered to a write, so that nothing is decided twice before the watch tells."""
        with self._lock:
            if _key(obj) in self._objects[kind]:
                _keep(self._objects[kind], obj)

    def _follow(self, kind: str, path: str) -> None:
        for event, obj in Api(self._paths).follow(path):
            with self._lock:
                found = self._objects[kind]
                if event == "SYNC":
                    found.clear()
                    for item in obj["items"]:
                        found[_key(item)] = {**item, "kind": kind}
                elif event == "DELETED":
                    found.pop(_key(obj), None)
                else:
                    _keep(found, obj)
            self._listed.add(kind)
            self._changed.set()


def _keep(found: dict[str, Object], obj: Object) -> None:
    """Store an object unless a later version of it is there already."""
    present = found.get(_key(obj))
    if present is None or _version(present) <= _version(obj):
        found[_key(obj)] = obj


def _version(obj: Object) -> int:
    """Versions of one object are ordered numbers (Kubernetes KEP-5504)."""
    return int(obj["metadata"]["resourceVersion"])


def _key(obj: Object) -> str:
    return f"{namespace(obj)}/{name(obj)}"
