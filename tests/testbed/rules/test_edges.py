"""What lies at the edge of a testbed: NICs in doubt, bindings, strangers, second servers, files that are left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.contract import MULTUS_NETWORKS, nic_annotation
from testbed.reachability import model, space
from testbed.rules import judge
from testbed.rules.context import Context
from testbed.rules.violation import Violation

from . import test_mistakes, worlds
from .test_mistakes import marks, namespace, obj, subnet, vpc
from .worlds import Body

SERVER = ("StatefulSet", "superlink", "lab-server")
SWITCH, ADDRESS, SECURITY = (nic_annotation(f) for f in ("logical_switch", "ip_address", "port_security"))
KUBE_OVN = {"cniVersion": "0.3.1", "type": "kube-ovn", "server_socket": "/s"}


def team(*more: Body, namespace: str = "team", **annotations: str) -> list[Body]:
    """Another team's namespace with one pod."""
    made = obj("Pod", "web", namespace, spec={"containers": [{"name": "x", "image": "y"}]})
    made["metadata"]["annotations"] = annotations
    return [obj("Namespace", namespace), made, *more]


def attachment(name: str, namespace: str, **config: Any) -> Body:
    whole = {**KUBE_OVN, "provider": f"{name}.{namespace}.ovn", **config}
    return obj("NetworkAttachmentDefinition", name, namespace, "k8s.cni.cncf.io/v1", spec={"config": json.dumps(whole)})


def asks(*entries: Any, key: str = MULTUS_NETWORKS) -> dict[str, str]:
    return {key: json.dumps(list(entries))}


OWN = {"name": "own", "namespace": "team"}
DOUBTS: dict[str, Callable[[], list[Body]]] = {
    "an attachment that is not among the files": lambda: team(**asks(OWN)),
    "an attachment of the server's that is not among the files": lambda: team(
        **asks({**OWN, "namespace": "lab-server"})
    ),
    "a conflist": lambda: team(
        attachment("own", "team", type="", plugins=[{"type": "kube-ovn"}, {"type": "portmap"}]), **asks(OWN)
    ),
    "an attachment of another CNI": lambda: team(attachment("own", "team", type="ipvlan"), **asks(OWN)),
    "routes in the attachment": lambda: team(
        attachment("own", "team", routes=[{"dst": "10.64.0.0/16", "gw": "10.16.0.1"}]), **asks(OWN)
    ),
    "ips": lambda: team(attachment("own", "team"), **asks({**OWN, "ips": ["10.64.0.9"]})),
    "a field of a selection that nobody knows": lambda: team(
        attachment("own", "team"), **asks({**OWN, "cni-args": {"ips": ["10.64.0.9"]}})
    ),
    "a list that is no JSON": lambda: team(**{MULTUS_NETWORKS: "[{"}),
    "a list that is no list": lambda: team(**{MULTUS_NETWORKS: '{"name": "own"}'}),
    "a name in upper case": lambda: team(**{MULTUS_NETWORKS: "Own"}),
    "a default network without its namespace": lambda: team(
        attachment("own", "team"), **asks({"name": "own"}, key="v1.multus-cni.io/default-network")
    ),
    "a default network that is not among the files": lambda: team(
        **{"v1.multus-cni.io/default-network": "kube-system/own"}
    ),
    "a pool": lambda: team(**{nic_annotation("ip_pool"): "nodes"}),
    "a pool bound to the namespace": lambda: team(
        obj("IPPool", "nodes", None, "kubeovn.io/v1", spec={"subnet": "lab-net-s001", "namespaces": ["team"]})
    ),
    "a subnet that is not among the files": lambda: team(**{SWITCH: "elsewhere"}),
    "a subnet of the namespace that is not among the files": lambda: [
        {**one, "metadata": {**one["metadata"], "annotations": {SWITCH: "elsewhere"}}}
        if one["kind"] == "Namespace"
        else one
        for one in team()
    ],
    "a VPC's default subnet that is not among the files": lambda: team(
        obj("Vpc", "team", None, "kubeovn.io/v1", spec={"namespaces": ["team"], "defaultSubnet": "elsewhere"})
    ),
    "an address that is none": lambda: team(**{ADDRESS: "10.64.0"}),
}
PLACED: dict[str, Callable[[], list[Body]]] = {
    "by its annotation": lambda: team(**{SWITCH: "lab-net-s001"}),
    "by an attachment's annotation": lambda: team(
        attachment("own", "team"), **asks(OWN), **{nic_annotation("logical_switch", "own.team.ovn"): "lab-net-s001"}
    ),
    "by an attachment that is not among the files": lambda: team(
        **asks(OWN), **{nic_annotation("logical_switch", "own.team.ovn"): "lab-net-s001"}
    ),
    "by one attachment twice": lambda: team(
        attachment("own", "team"),
        **asks({**OWN, "interface": "net1"}, {**OWN, "interface": "net2"}),
        **{nic_annotation("logical_switch", "own.team.ovn.net2"): "lab-net-s001"},
    ),
    "by one attachment twice in two lists": lambda: team(
        attachment("own", "team"),
        **asks({**OWN, "interface": "net1"}),
        **asks({**OWN, "interface": "net2"}, key="v1.multus-cni.io/default-network"),
        **{nic_annotation("logical_switch", "own.team.ovn.net2"): "lab-net-s001"},
    ),
    "by a default network": lambda: team(
        attachment("own", "team"),
        **{"v1.multus-cni.io/default-network": "team/own"},
        **{nic_annotation("logical_switch", "own.team.ovn"): "lab-net-s001"},
    ),
    "by its namespace's annotation": lambda: [
        {**one, "metadata": {**one["metadata"], "annotations": {SWITCH: "lab-net-s001"}}}
        if one["kind"] == "Namespace"
        else one
        for one in team()
    ],
}


def added(make: Callable[[], list[Body]]) -> worlds.Mistake:
    return lambda manifests: manifests.extend(make())


def pinned_elsewhere(manifests: list[Body], *where: str) -> None:
    """The second subnet of a namespace holds the address its pod pins."""
    subnet(manifests, 2)["namespaces"] = ["lab-client-e3", "lab-client-e1"]
    marks(manifests)[ADDRESS] = "10.64.0.20"


def second(kind: str = "Deployment", name: str = "second", **links: str) -> Body:
    """Another workload of role server, with NICs on two clients' networks."""
    made = json.loads(json.dumps(worlds.one(worlds.bodies(), *SERVER)))
    made |= {"kind": kind, "metadata": {**made["metadata"], "name": name}}
    worlds.notes(made)[MULTUS_NETWORKS] = json.dumps(
        [{"name": f"link-s00{i}", "namespace": "lab-server"} for i in (1, 2)]
    )
    return made  # type: ignore[no-any-return]


def team_bound(manifests: list[Body]) -> None:
    subnet(manifests)["namespaces"].append("team")
    manifests.extend(team())


def peered(manifests: list[Body]) -> None:
    """Another team's VPC, joined to a client's from both sides."""
    ends = [
        {"remoteVpc": name, "localConnectIP": f"169.254.0.{i}/30"} for i, name in ((1, "team"), (2, "lab-vpc-s001"))
    ]
    vpc(manifests).update(vpcPeerings=ends[:1])
    manifests.append(obj("Vpc", "team", None, "kubeovn.io/v1", spec={"vpcPeerings": ends[1:]}))


def machines(manifests: list[Body]) -> None:
    subnet(manifests)["namespaces"].append("vms")
    manifests.append(obj("VirtualMachine", "vm", "vms", "kubevirt.io/v1", spec={}))


def nameless(manifests: list[Body]) -> None:
    """A client's pods and namespace that name no client."""
    for one in manifests:
        metadata = one["metadata"]
        if metadata.get("namespace") == "lab-client-e1" and one["kind"] in ("StatefulSet", "Job"):
            metadata = worlds.template(one)["metadata"]
        if "lab-client-e1" in (one["metadata"]["name"], one["metadata"].get("namespace")):
            metadata.get("labels", {}).pop("kubeflower.io/client", None)


BOUND: dict[str, worlds.Mistake] = {
    "another team's namespace": team_bound,
    "a namespace without pods": lambda m: subnet(m)["namespaces"].append("nobody"),
    "the server's namespace": lambda m: subnet(m)["namespaces"].append("lab-server"),
    "another client's namespace": lambda m: subnet(m)["namespaces"].append("lab-client-e3"),
    "another client's namespace alone": lambda m: subnet(m).update(namespaces=["lab-client-e3"]),
    "an address that its second subnet holds": pinned_elsewhere,
    "namespaces by a label": lambda m: subnet(m).update(namespaceSelectors=[{"matchLabels": {"team": "a"}}]),
    "every namespace": lambda m: subnet(m).update(namespaceSelectors=[{}]),
    "a namespace by its name as a label": lambda m: subnet(m).update(
        namespaceSelectors=[{"matchLabels": {"kubernetes.io/metadata.name": "team"}}]
    ),
    "a free network": lambda m: subnet(m, 4).update(namespaces=["team"]),
    "by another's attachment": lambda m: subnet(m).update(provider="own.team.ovn"),
    "no subnet of OVN": lambda m: subnet(m).update(provider="own.team"),
    "a VPC's namespaces": lambda m: vpc(m)["namespaces"].append("team"),
    "a VPC's default subnet": lambda m: vpc(m).update(
        namespaces=["lab-client-e1", "team"], defaultSubnet="lab-net-s001"
    ),
    "a namespace's annotation": lambda m: m.append(
        {**obj("Namespace", "team"), "metadata": {"name": "team", "annotations": {SWITCH: "lab-net-s001"}}}
    ),
    "a subnet in a client's VPC": lambda m: m.append(
        obj(
            "Subnet",
            "more",
            None,
            "kubeovn.io/v1",
            spec={"vpc": "lab-vpc-s001", "cidrBlock": "10.70.0.0/24", "private": True},
        )
    ),
    "two clients in a VPC": lambda m: subnet(m, 2).update(vpc="lab-vpc-s001"),
    "a free network in a client's VPC": lambda m: subnet(m, 4).update(vpc="lab-vpc-s001"),
    "a peering with another team": peered,
}
SERVERS: dict[str, worlds.Mistake] = {
    "a second Deployment": lambda m: m.append(second()),
    "a second Pod of role server": lambda m: m.append(
        {
            **obj("Pod", "p", "lab-server", spec=worlds.template(second())["spec"]),
            "metadata": {"name": "p", "namespace": "lab-server", **worlds.template(second())["metadata"]},
        }
    ),
    "two replicas": lambda m: worlds.one(m, *SERVER)["spec"].update(replicas=2),
    "a server on every node": lambda m: worlds.one(m, *SERVER).update(kind="DaemonSet"),
    "a run on a client's network": lambda m: marks(m, "Job", "run-", "lab-server").update({SWITCH: "lab-net-s001"}),
    "a second server's namespace": lambda m: m.append(namespace("rogue", testbed="lab")),
    "a Service that makes pods": lambda m: worlds.one(m, "Service", "superlink")["spec"].update(type="LoadBalancer"),
    "a virtual machine": lambda m: m.append(
        obj(
            "VirtualMachine",
            "vm",
            "team",
            "kubevirt.io/v1",
            spec={"template": {"metadata": {"annotations": {SWITCH: "lab-net-s001"}}}},
        )
    ),
    "a virtual machine by an attachment": lambda m: m.append(
        obj(
            "VirtualMachine",
            "vm",
            "team",
            "kubevirt.io/v1",
            spec={"template": {"spec": {"networks": [{"multus": {"networkName": "lab-server/link-s001"}}]}}},
        )
    ),
    "a virtual machine in a namespace of a client's network": machines,
    "a client without a name": nameless,
}
EDGES: dict[str, worlds.Mistake] = {
    **{f"doubt: {name}": added(make) for name, make in DOUBTS.items()},
    **{f"placed: {name}": added(make) for name, make in PLACED.items()},
    **{f"bound: {name}": mistake for name, mistake in BOUND.items()},
    **{f"server: {name}": mistake for name, mistake in SERVERS.items()},
}


@pytest.mark.parametrize("name", EDGES)
def test_it_is_refused(name: str) -> None:
    manifests = worlds.bodies()
    EDGES[name](manifests)
    found = worlds.violations(manifests)
    assert found
    for one in found:
        assert one.resource
        assert one.field
        assert one.message
        assert one.repair


@pytest.mark.parametrize("name", DOUBTS)
def test_a_doubt_about_anybodys_nic_touches_every_client(name: str) -> None:
    manifests = worlds.bodies()
    EDGES[f"doubt: {name}"](manifests)
    (found,) = worlds.violations(manifests)
    assert "cannot prove isolation" in found.message
    result = Context(worlds.objects(manifests)).reachability
    assert {pair.verdict for pair in result.pairs()} == {"unknown"}


@pytest.mark.parametrize("name", DOUBTS)
def test_a_doubt_is_kept_when_no_client_is_among_the_files(name: str) -> None:
    manifests = [
        m for m in worlds.bodies() if "client" not in (m["metadata"].get("namespace") or m["metadata"]["name"])
    ]
    EDGES[f"doubt: {name}"](manifests)
    assert any("cannot prove isolation" in one.message for one in worlds.violations(manifests))


@pytest.mark.parametrize("name", [*PLACED])
def test_a_nic_is_placed_where_kube_ovn_places_it(name: str) -> None:
    built = model.build(worlds.objects([*worlds.bodies(), *PLACED[name]()]))
    assert "team" in {port.pod.namespace for port in built.on_subnet["lab-net-s001"]}


@pytest.mark.parametrize("name", [f"bound: {n}" for n in BOUND if "address" not in n and "two clients" not in n])
def test_one_cause_is_told_once(name: str) -> None:
    manifests = worlds.bodies()
    EDGES[name](manifests)
    found = worlds.violations(manifests)
    assert len({(v.resource, v.field) for v in found}) == 1, [(v.resource, v.field, v.message) for v in found]


def test_a_pinned_address_decides_between_the_subnets_of_a_namespace() -> None:
    manifests = worlds.bodies()
    pinned_elsewhere(manifests)
    built = model.build(worlds.objects(manifests))
    one = next(pod for pod in built.pods if pod.name == "lab-client-e1/supernode")
    assert "lab-net-s002" in {port.subnet.name for port in built.of_pod[one]}
    del marks(manifests)[SWITCH]
    built = model.build(worlds.objects(manifests))
    one = next(pod for pod in built.pods if pod.name == "lab-client-e1/supernode")
    (port,) = built.of_pod[one]
    assert port.subnet.name == "lab-net-s002"
    assert port.addresses == (space.network("10.64.0.20"),)


def test_each_interface_of_one_attachment_needs_port_security() -> None:
    manifests = worlds.bodies()
    notes = marks(manifests, *SERVER)
    notes[MULTUS_NETWORKS] = json.dumps(
        [{"name": "link-s001", "namespace": "lab-server", "interface": f"net{i}"} for i in (1, 2)]
    )
    provider = "link-s001.lab-server.ovn"
    for interface in ("net1", "net2"):
        notes[nic_annotation("logical_switch", f"{provider}.{interface}")] = "lab-net-s001"
    fields = {e.path[-1] for v in worlds.violations(manifests) if v.rule == "hardened-pods" for e in v.edits}
    assert fields == {nic_annotation("port_security", f"{provider}.net{i}") for i in (1, 2)}


def test_the_address_of_one_interface_goes_before_the_pinned_one() -> None:
    manifests = worlds.bodies()
    notes = marks(manifests, *SERVER)
    notes["link-s001.lab-server.kubernetes.io/ip_address.net1"] = "10.64.0.9"
    built = model.build(worlds.objects(manifests))
    server = next(pod for pod in built.pods if pod.name == "lab-server/superlink")
    port = next(port for port in built.of_pod[server] if port.subnet.name == "lab-net-s001")
    assert set(port.addresses) == {space.network(a) for a in ("10.64.0.2", "10.64.0.9")}


# Objects that may be left out of a clean testbed, and why what is left is no less safe.
LEFT_OUT = {
    "ConfigMap": "no pod starts without it, and no rule takes it as proof",
    "Secret": "no pod starts without it, and no rule takes it as proof",
    "Node": "a patch of labels on a node; a group of clients needs them, one client alone does not",
    "NetworkPolicy": "a second lock: a private subnet in a VPC of its own isolates without it",
    "ResourceQuota": "it limits what pods use, and opens nothing",
    "Service": "it opens a port of the nodes, and nothing without it",
    "StorageClass": "it provisions nothing; each volume is declared and reserved for its claim",
    "StatefulSet": "fewer pods; what would start in its place is judged by what is declared",
    "Job": "a run trains nothing without it; a release is missed by the client that waits for it",
}


@cache
def _judged(stack: str, left_out: int) -> tuple[Violation, ...]:
    found = worlds.objects(worlds.bodies(stack))
    return tuple(judge(Context(o for i, o in enumerate(found) if i != left_out)))


@pytest.mark.parametrize("stack", ["lab", "cloud-edge"])
def test_an_object_that_is_left_out_of_a_clean_testbed_is_missed_or_harmless(stack: str) -> None:
    found = worlds.objects(worlds.bodies(stack))
    seen = {True: 0, False: 0}
    for index, one in enumerate(found):
        missed = bool(_judged(stack, index))
        seen[missed] += 1
        assert missed or one.kind in LEFT_OUT, one.ref
    assert min(seen.values()) > 10


CASES = {**{f"{rule}: {name}": mistake for rule, name, mistake in test_mistakes.CASES}, **EDGES}


@settings(max_examples=150)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 10**6))
def test_leaving_out_an_object_makes_no_testbed_cleaner(name: str, choice: int) -> None:
    """Whatever is refused stays so without an object that no finding names, and that the mistake did not bring."""
    manifests = worlds.bodies()
    CASES[name](manifests)
    clean = worlds.bodies()
    said = repr(worlds.violations(manifests))
    others = [m for m in manifests if m in clean and worlds.objects([m])[0].ref not in said]
    gone = others[choice % len(others)]
    assert worlds.violations([m for m in manifests if m is not gone]), worlds.objects([gone])[0].ref


def test_another_teams_network_is_admitted() -> None:
    network = obj(
        "Subnet",
        "team",
        None,
        "kubeovn.io/v1",
        spec={"vpc": "team", "cidrBlock": "10.70.0.0/24", "namespaces": ["team"]},
    )
    more = [
        obj("Vpc", "team", None, "kubeovn.io/v1", spec={"namespaces": ["team"]}),
        network,
        attachment("own", "team"),
    ]
    here = {SWITCH: "team", nic_annotation("logical_switch", "own.team.ovn"): "team"}
    assert worlds.violations([*worlds.bodies(), *team(*more, **asks(OWN), **here)]) == []
    assert worlds.violations([*worlds.bodies(), *team()]) == []
