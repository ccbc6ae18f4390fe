"""What a testbed renders, given to Kube-OVN's own controller: it becomes ready and gets what it was promised."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.api import Api
from lab.ovn.daemons import Sockets, sockets
from tests.components.rendering import Manifest, config, render, spec

from . import control
from .trace import Trace
from .worker import Worker

pytestmark = [pytest.mark.fabric, pytest.mark.engine]
PORT = "tcp && tcp.dst == {}"


def bodies(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """The network's objects, and a pod of each workload with its own containers, on a node that has no kubelet."""
    found = [m for m in manifests if m["kind"] in control.COLLECTIONS and m["kind"] != "Service"]
    for owner in (m for m in manifests if m["kind"] in ("StatefulSet", "Job")):
        template, where = owner["spec"]["template"], owner["metadata"]
        metadata = {**template["metadata"], "name": f"{where['name']}-0", "namespace": where["namespace"]}
        pod = {key: value for key, value in template["spec"].items() if key != "nodeSelector"}
        found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**pod, "nodeName": "n1"}})
    return found


def pinned(pod: dict[str, Any]) -> dict[str, str]:
    return {k: v for k, v in pod["metadata"].get("annotations", {}).items() if k.endswith("/ip_address")}


def test_the_papers_testbed_gets_what_it_was_promised_and_no_more(worker: Worker) -> None:
    testbed = spec("cloud-edge")
    objects = bodies(render(testbed))
    promised = {
        f"{o['metadata']['namespace']}/{o['metadata']['name']}": pinned(o) for o in objects if o["kind"] == "Pod"
    }
    with control.present(worker.paths, objects) as pods:
        assert set(control.ready(Api(worker.paths)).values()) == {True}
        for name, addresses in promised.items():
            assert pinned(pods[name]).items() >= addresses.items()
        trace, port = Trace(sockets(worker.paths)), PORT.format(testbed.server.port)
        clients = {n: p for n, p in trace.ports.items() if n.startswith("supernode-0.")}
        links = {p.switch: p for n, p in trace.ports.items() if n.startswith("superlink-0.")}
        assert len(clients) == 10
        for name, client in clients.items():
            link = links[client.switch]
            assert trace.delivered(name, link.address, port) == {link.name}
            assert trace.delivered(name, link.address, "tcp && tcp.dst == 22") == frozenset()
            other = next(p for n, p in clients.items() if n != name)
            for way in ("", link.mac):
                assert trace.delivered(name, other.address, port, via=way) == frozenset()
                assert trace.delivered(name, links[other.switch].address, port, via=way) == frozenset()


def test_connecting_a_client_changes_no_row_of_another(worker: Worker) -> None:
    values = config()["kubeflower:clients"]
    before, after = render(spec()), render(spec(clients__list=[*values["list"], {"id": "e2", "slot": 4, "node": "E2"}]))
    known = {json.dumps(o, sort_keys=True) for o in bodies(before)}
    changed = [o for o in bodies(after) if json.dumps(o, sort_keys=True) not in known]
    runs = [o for o in changed if o["metadata"]["name"].startswith("run-")]  # another federation is another run
    added = [o for o in changed if o not in runs]
    assert {o["metadata"].get("namespace", o["metadata"]["name"]) for o in added} == {
        *("lab-client-e2", "lab-vpc-s004", "lab-net-s004")  # its slot's, which wait for a client
    }
    at = sockets(worker.paths)
    with control.present(worker.paths, bodies(before)):
        own = at.nbctl("--bare", "--columns=acls", "find", "Logical_Switch", "name=lab-net-s004").split()
        rows = {uuid: row for uuid, row in _rows(at).items() if uuid not in own}  # its own subnet's are made anew
        api = Api(worker.paths)
        control.create(api, added)
        pods = [o for o in added if o["kind"] == "Pod"]
        assert len(control.settled(worker.paths, pods)) == len(pods) > 0
        now = _rows(at)
        assert [row for uuid, row in rows.items() if now.get(uuid) != row] == []


def _rows(at: Sockets) -> dict[str, Any]:
    """What the controller wrote of ports and rules: identity to content."""
    found: dict[str, Any] = {}
    for table, columns in (
        ("Logical_Switch_Port", "_uuid,name,addresses,port_security,enabled"),
        ("ACL", "_uuid,match,action,priority,direction"),
        ("Logical_Router_Static_Route", "_uuid,ip_prefix,nexthop,policy"),
        ("Logical_Router_Policy", "_uuid,match,action,priority,nexthops"),
    ):
        for (_, uuid), *row in json.loads(at.nbctl("--format=json", f"--columns={columns}", "list", table))["data"]:
            found[uuid] = row
    return found
