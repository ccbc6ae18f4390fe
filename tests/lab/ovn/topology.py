"""Kubernetes objects of a testbed's network, as docs/contract.md says it renders them."""

from __future__ import annotations

import json
from typing import Any

from testbed.contract import MULTUS_NETWORKS, nic_annotation

PORT = 8080
SERVER = "10.31.0.2"


def obj(kind: str, name: str, namespace: str = "", **rest: Any) -> dict[str, Any]:
    """An object with its metadata."""
    groups = {
        "Vpc": "kubeovn.io/v1",
        "Subnet": "kubeovn.io/v1",
        "NetworkAttachmentDefinition": "k8s.cni.cncf.io/v1",
        "NetworkPolicy": "networking.k8s.io/v1",
    }
    metadata: dict[str, Any] = {"name": name, **rest.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": groups.get(kind, "v1"), "kind": kind, "metadata": metadata, **rest}


def link(index: int) -> str:
    """First three bytes of a client network."""
    return f"10.32.{index}"


def subnet(name: str, vpc: str, prefix: str, namespaces: list[str], **spec: Any) -> dict[str, Any]:
    """A private subnet ``prefix``.0/24."""
    body = {
        "vpc": vpc,
        "protocol": "IPv4",
        "provider": "ovn",
        "cidrBlock": f"{prefix}.0/24",
        "gateway": f"{prefix}.1",
        "excludeIps": [f"{prefix}.1"],
        "private": True,
        "allowSubnets": [],
        "natOutgoing": False,
        "namespaces": namespaces,
        "disableGatewayCheck": True,
        "disableInterConnection": True,
    }
    return obj("Subnet", name, spec={**body, **spec})


def pod(name: str, namespace: str, role: str, network: str, address: str = "", **annotations: str) -> dict[str, Any]:
    """A pod with one secured NIC."""
    marks = {nic_annotation("logical_switch"): network, nic_annotation("port_security"): "true", **annotations}
    if address:
        marks[nic_annotation("ip_address")] = address
    labels = {"kubeflower.io/role": role, "kubeflower.io/testbed": "t"}
    return obj(
        "Pod", name, namespace, metadata={"annotations": marks, "labels": labels}, spec={"nodeName": "n1"}, status={}
    )


def testbed(clients: int = 2, secured: bool = True) -> list[dict[str, Any]]:
    """Server and clients, one network each."""
    groups = [f"s{i:03d}" for i in range(1, clients + 1)]
    marks = {
        MULTUS_NETWORKS: json.dumps(
            [{"name": f"link-{g}", "namespace": "t-server", "interface": f"net{i}"} for i, g in enumerate(groups, 1)]
        )
    }
    objects = [
        obj("Namespace", "t-server", metadata={"labels": {"kubeflower.io/role": "server"}}),
        subnet("t-net-server", "ovn-cluster", "10.31.0", ["t-server"]),
    ]
    for i, g in enumerate(groups, 1):
        provider = f"link-{g}.t-server.ovn"
        config = {
            "cniVersion": "0.3.1",
            "type": "kube-ovn",
            "server_socket": "/run/openvswitch/kube-ovn-daemon.sock",
            "provider": provider,
        }
        ns = f"t-client-{i}"
        marks[nic_annotation("logical_switch", provider)] = f"t-net-{g}"
        marks[nic_annotation("ip_address", provider)] = f"{link(i)}.2"
        marks[nic_annotation("port_security", provider)] = "true"
        objects += [
            obj("Namespace", ns, metadata={"labels": {"kubeflower.io/role": "client", "kubeflower.io/client": str(i)}}),
            obj("Vpc", f"t-vpc-{g}", spec={"namespaces": [ns]}),
            subnet(f"t-net-{g}", f"t-vpc-{g}", link(i), [ns]),
            obj("NetworkAttachmentDefinition", f"link-{g}", "t-server", spec={"config": json.dumps(config)}),
            pod("supernode-0", ns, "client", f"t-net-{g}", f"{link(i)}.3"),
            policy(ns, [], [egress(f"{link(i)}.2/32")]),
        ]
    blocks = ["10.32.0.0/16", "10.31.0.0/24", "100.64.0.0/16"]
    entry = {"from": [{"ipBlock": {"cidr": b}} for b in blocks], "ports": [{"protocol": "TCP", "port": PORT}]}
    objects += [
        pod("superlink-0", "t-server", "server", "t-net-server", SERVER, **marks),
        policy("t-server", [entry], [{"to": [{"ipBlock": {"cidr": "10.31.0.0/24"}}]}]),
    ]
    if not secured:
        for each in objects:
            for key in list(each["metadata"].get("annotations") or {}):
                if key.endswith("port_security"):
                    del each["metadata"]["annotations"][key]
    return objects


def egress(cidr: str) -> dict[str, Any]:
    """An egress rule to the SuperLink."""
    return {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": PORT}]}


def policy(namespace: str, ingress: list[Any], out: list[Any]) -> dict[str, Any]:
    """The namespace's NetworkPolicy."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": out}
    return obj("NetworkPolicy", "default", namespace, spec=spec)


def shared_vpc(objects: list[dict[str, Any]], private: bool, vpc: str = "t-vpc-s001") -> list[dict[str, Any]]:
    """The same testbed with every client network in one VPC.

    A namespace may be named by the VPC of its own subnet alone: else Kube-OVN makes that subnet never ready.
    """
    namespaces = [o["metadata"]["name"] for o in objects if o["kind"] == "Namespace"][1:]
    for each in objects:
        if each["kind"] == "Subnet" and "server" not in each["metadata"]["name"]:
            each["spec"] |= {"vpc": vpc, "private": private}
        if each["kind"] == "Vpc":
            each["spec"]["namespaces"] = namespaces if each["metadata"]["name"] == vpc else []
    return objects
