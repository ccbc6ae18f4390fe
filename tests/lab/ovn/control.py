"""Objects in a worker's cluster: created as a Pulumi program would, awaited, and deleted again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from lab.api import MERGE, Api, ApiError
from lab.ovn.daemons import sockets
from lab.ovn.kubeovn import DEFAULT_SUBNET, JOIN_SUBNET, KUBE_OVN, is_ready
from lab.ovn.ports import nics
from lab.paths import Paths
from testbed.contract import DEFAULT_VPC

Body = dict[str, Any]
# In the order of creation; what stands later uses what stands before it.
COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "Vpc": f"{KUBE_OVN}/vpcs",
    "SecurityGroup": f"{KUBE_OVN}/security-groups",
    "Subnet": f"{KUBE_OVN}/subnets",
    "NetworkAttachmentDefinition": "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "Service": "/api/v1/services",
    "Pod": "/api/v1/pods",
}
OWN = {DEFAULT_VPC, DEFAULT_SUBNET, JOIN_SUBNET}  # the controller's own objects
WRITTEN = ("ACL", "Address_Set", "Logical_Router", "Logical_Switch", "Logical_Switch_Port", "Port_Group")
QUIET = 1.0  # seconds without a change after which the controller has done its work
STUCK = 6.0  # seconds without a change after which it will place no pod that it has not


def path(obj: Body) -> str:
    """The collection an object belongs in."""
    namespace = obj["metadata"].get("namespace")
    base, _, plural = COLLECTIONS[obj["kind"]].rpartition("/")
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"


def where(obj: Body) -> str:
    """An object's own path."""
    return f"{path(obj)}/{obj['metadata']['name']}"


def until(what: str, question: Callable[[], Any], timeout: float = 60.0) -> Any:
    """Ask until the answer is true."""
    deadline = time.monotonic() + timeout
    while not (answer := question()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout:.0f} s"
        time.sleep(0.05)
    return answer


def create(api: Api, objects: list[Body]) -> None:
    """Create objects, or change those that are there; pods with the least a pod needs."""
    for each in sorted(objects, key=lambda o: list(COLLECTIONS).index(o["kind"])):
        body = {key: value for key, value in each.items() if key != "status"}
        if each["kind"] == "Pod":
            least = {"containers": [{"name": "c", "image": "none"}], "automountServiceAccountToken": False}
            body["spec"] = {**least, **each["spec"]}
        if exists(api, where(each)):
            api.patch(where(each), body, MERGE)
        else:
            api.create(path(each), body)
        if each["kind"] == "Namespace":
            until("service account", partial(exists, api, f"{where(each)}/serviceaccounts/default"))


def exists(api: Api, at: str) -> bool:
    """Whether there is such an object."""
    try:
        api.get(at)
    except ApiError as error:
        assert error.status == 404, error
        return False
    return True


def placed(api: Api, pod: Body) -> Body | None:
    """A pod that the controller has given all its NICs, None until then."""
    found = api.get(where(pod))
    return found if nics(found) else None


def settled(paths: Paths, pods: list[Body]) -> list[Body]:
    """Wait until the controller has placed the pods and written nothing more into OVN, and OVN has taken it.

    Returns:
        The pods with their NICs; those are missing that it does not place, having written nothing for long.
    """
    api, at, before, since = Api(paths), sockets(paths), "", time.monotonic()
    while True:
        now = "".join(at.nbctl("list", table) for table in WRITTEN)
        found = [there for each in pods if (there := placed(api, each))]
        if now != before:
            before, since = now, time.monotonic()
        if time.monotonic() - since > (QUIET if len(found) == len(pods) else STUCK):
            at.nbctl("--wait=sb", "sync")
            return found
        time.sleep(0.1)


@contextmanager
def present(paths: Paths, objects: list[Body], whole: bool = True) -> Iterator[dict[str, Body]]:
    """The objects in the cluster for as long as the block lasts; gives the placed pods by ``namespace/name``.

    Args:
        paths: the lab.
        objects: what to create.
        whole: whether every pod has to be placed.
    """
    api, pods = Api(paths), [each for each in objects if each["kind"] == "Pod"]
    try:
        create(api, objects)
        found = settled(paths, pods)
        assert len(found) == len(pods) or not whole, f"not placed: {events(api)}"
        yield {f"{p['metadata']['namespace']}/{p['metadata']['name']}": p for p in found}
    finally:
        clear(api)


def events(api: Api) -> list[str]:
    """What the controller warned of."""
    found = api.get("/api/v1/events")["items"]
    return [f"{e['involvedObject']['name']}: {e.get('message')}" for e in found if e["type"] == "Warning"]


def clear(api: Api) -> None:
    """Delete all objects, the last first, until they are gone, but namespaces, which would take seconds."""
    for kind in reversed(COLLECTIONS):
        if kind != "Namespace":
            for each in _foreign(api, kind):
                api.delete(where({**each, "kind": kind}), {"gracePeriodSeconds": 0})
            until(f"every {kind} gone", partial(_gone, api, kind))


def _gone(api: Api, kind: str) -> bool:
    return not _foreign(api, kind)


def _foreign(api: Api, kind: str) -> list[Body]:
    """Objects that are neither the controller's own nor the API server's."""
    found = api.get(COLLECTIONS[kind])["items"]
    return [o for o in found if o["metadata"]["name"] not in OWN and o["metadata"].get("namespace") != "default"]


def ready(api: Api) -> dict[str, bool]:
    """Whether each subnet is ready."""
    return {each["metadata"]["name"]: is_ready(each) for each in api.get(COLLECTIONS["Subnet"])["items"]}
