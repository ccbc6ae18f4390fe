"""The network's controller: from the API server's objects to addresses on pods and rows in OVN.

Level-triggered: whatever changed, it looks at everything, writes what differs, and is done. It writes the ports into
OVN before the addresses onto the pod, so that a pod with addresses always has its ports.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from lab.api import MERGE, Api, ApiError, Unreachable, timestamp
from lab.ovn import join, northbound
from lab.ovn.addresses import Allocation, allocate
from lab.ovn.cluster import Cluster, Object, annotations_of, name, namespace, reference
from lab.ovn.daemons import FabricError, sockets
from lab.ovn.defaults import defaults
from lab.ovn.model import Northbound
from lab.ovn.nics import UnplaceableError, unserved
from lab.ovn.ports import PROBLEM
from lab.ovn.status import subnet_status, vpc_status
from lab.ovn.translate import translate
from lab.ovn.watch import Watched
from lab.paths import Paths

KUBE_OVN = "/apis/kubeovn.io/v1"
COLLECTIONS = {
    "Vpc": f"{KUBE_OVN}/vpcs",
    "Subnet": f"{KUBE_OVN}/subnets",
    "SecurityGroup": f"{KUBE_OVN}/security-groups",
    "NetworkAttachmentDefinition": "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions",
    "Pod": "/api/v1/pods",
    "Namespace": "/api/v1/namespaces",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
}
RESYNC = 30.0  # seconds after which everything is looked at again though nothing changed
RETRY = 1.0  # seconds after a failure
SETTLE = 0.02  # seconds in which changes that come together are collected

log = logging.getLogger(__name__)


class Controller:
    """Reconciles one lab's network."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.api = Api(paths)
        self.node = join.node(paths)
        self.attached = False
        self.written: Northbound | None = None
        self._create_defaults()
        self.watched = Watched(paths, COLLECTIONS)

    def run(self) -> None:
        """Reconcile for ever."""
        delay = RESYNC
        while True:
            if not self.watched.wait(delay):
                continue
            time.sleep(SETTLE)
            delay = RESYNC
            try:
                self.reconcile(self.watched.cluster([self.node]))
            except (FabricError, ApiError, *Unreachable) as problem:
                log.warning("%s; tried again in %.0f s", problem, RETRY)
                delay = RETRY

    def reconcile(self, cluster: Cluster) -> None:
        """Make the network what the objects say.

        Raises:
            FabricError: OVN refused.
            ApiError: the API server refused an annotation or a status.
        """
        allocation = allocate(cluster)
        allocated = allocation.applied(cluster)
        wanted = translate(allocated)
        if wanted != self.written:
            self.written = None
            count = northbound.apply(sockets(self.paths), wanted)
            self.written = wanted
            log.info("northbound database: %d commands", count)
            for left in wanted.untranslated:
                log.warning("not built: %s %s: %s", left.object, left.field, left.reason)
        if not self.attached:
            join.attach(self.paths)
            self.attached = True
        for pod in cluster.pods():
            problem = allocation.problems.get(reference(pod)) or unserved(pod, cluster)
            self._annotate(pod, allocation.annotations.get(reference(pod), {}), problem)
        self._statuses(allocated, allocation)

    def _create_defaults(self) -> None:
        """Source: Kube-OVN ``pkg/controller/init.go``."""
        while True:
            try:
                for obj in defaults():
                    collection = COLLECTIONS[obj["kind"]]
                    try:
                        self.api.create(collection, obj)
                    except ApiError as refused:
                        if refused.status != 409:
                            raise
                return
            except (ApiError, *Unreachable) as problem:
                log.warning("default VPC: %s; tried again in %.0f s", problem, RETRY)
                time.sleep(RETRY)

    def _annotate(self, pod: Object, decided: Mapping[str, str], problem: UnplaceableError | None) -> None:
        new: dict[str, str | None] = dict(decided)
        before = annotations_of(pod).get(PROBLEM)
        if problem is not None and before != str(problem):
            new[PROBLEM] = str(problem)
            self._event(pod, problem)
        elif problem is None and before is not None:
            new[PROBLEM] = None
        if new:
            where = f"/api/v1/namespaces/{namespace(pod)}/pods/{name(pod)}"
            # The uid makes the server refuse a patch meant for a pod of this name that is gone.
            self._patch("Pod", where, {"metadata": {"uid": pod["metadata"]["uid"], "annotations": new}})

    def _event(self, pod: Object, problem: UnplaceableError) -> None:
        now = timestamp()
        event = {
            "metadata": {"generateName": f"{name(pod)}.", "namespace": namespace(pod)},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": name(pod),
                "namespace": namespace(pod),
                "uid": pod["metadata"].get("uid"),
            },
            "type": "Warning",
            "reason": problem.reason,
            "message": str(problem),
            "source": {"component": "kube-ovn-controller"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        log.warning("%s: %s", reference(pod), problem)
        try:
            self.api.create(f"/api/v1/namespaces/{namespace(pod)}/events", event)
        except ApiError as refused:
            log.warning("event of %s: %s", reference(pod), refused)

    def _statuses(self, cluster: Cluster, allocation: Allocation) -> None:
        for kind, make in (("Subnet", subnet_status), ("Vpc", vpc_status)):
            for obj in cluster.all(kind):
                status = make(obj, cluster, allocation)
                if _differs(status, obj.get("status") or {}):
                    self._patch(kind, f"{COLLECTIONS[kind]}/{name(obj)}/status", {"status": status})

    def _patch(self, kind: str, path: str, body: Mapping[str, Any]) -> None:
        """Merge into an object; one that is gone, or is another by now, needs nothing."""
        try:
            self.watched.wrote(kind, self.api.patch(path, dict(body), MERGE))
        except ApiError as refused:
            if refused.status not in (404, 409):
                raise


def _differs(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
    return any(present.get(key) != value for key, value in wanted.items())
