"""Random testbeds with random mistakes, as Kubernetes objects."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from testbed.contract import MULTUS_NETWORKS, nic_annotation
from testbed.manifests import Object, expand

Body = dict[str, Any]
SERVER_NS = "t-server"


def body(kind: str, name: str, namespace: str = "", spec: Body | None = None, **metadata: Any) -> Body:
    versions = {
        "Vpc": "kubeovn.io/v1",
        "Subnet": "kubeovn.io/v1",
        "NetworkAttachmentDefinition": "k8s.cni.cncf.io/v1",
        "NetworkPolicy": "networking.k8s.io/v1",
    }
    meta: Body = {"name": name, **({"namespace": namespace} if namespace else {}), **metadata}
    return {"apiVersion": versions.get(kind, "v1"), "kind": kind, "metadata": meta, "spec": spec or {}}


def cidr(index: int) -> str:
    return f"10.64.{index}.0/28"


def address(index: int, host: int) -> str:
    return f"10.64.{index}.{host}"


def subnet(name: str, vpc: str, block: str, namespaces: list[str], **spec: Any) -> Body:
    base = {
        "vpc": vpc,
        "protocol": "IPv4",
        "provider": "ovn",
        "cidrBlock": block,
        "gateway": block.replace(".0/28", ".1"),
        "excludeIps": [block.replace(".0/28", ".1") + ".." + block.replace(".0/28", ".2")],  # the server's NIC has .2
        "private": True,
        "allowSubnets": [],
        "namespaces": namespaces,
        "natOutgoing": False,
        "disableInterConnection": True,
    }
    return body("Subnet", name, spec={**base, **spec})


def pod(name: str, namespace: str, role: str, marks: dict[str, str], **labels: str) -> Body:
    every = {"kubeflower.io/role": role, "kubeflower.io/testbed": "t", **labels}
    return body("Pod", name, namespace, {"nodeName": "n1"}, labels=every, annotations=marks)


def nic(network: str, ip: str | None, secured: bool, provider: str | None = None) -> dict[str, str]:
    marks = {nic_annotation("logical_switch", provider): network}
    if ip:
        marks[nic_annotation("ip_address", provider)] = ip
    if secured:
        marks[nic_annotation("port_security", provider)] = "true"
    return marks


class Scenario:
    """A testbed of ``clients`` clients and the mistakes ``seed`` gives it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.seed = seed
        self.count = self.random.choice((2, 2, 3, 3, 4))
        self.layout = self.random.choice(("own", "own", "shared", "default", "mixed"))
        self.notes: list[str] = [self.layout]
        r = self.random
        self.block = {i: i for i in range(1, self.count + 1)}
        self.vpc = {i: self._vpc(i) for i in self.block}
        if r.random() < 0.12 and self.vpc[1] != self.vpc[2]:
            self.block[2] = 1
            self.notes.append("overlapping CIDRs")
        self.home = {i: i for i in self.block}
        self.flat: set[int] = set()
        for i in self.block:
            if r.random() < 0.06:
                self.home[i] = r.choice([j for j in self.block if j != i])
                self.notes.append(f"client {i} on the subnet of {self.home[i]}")
            elif r.random() < 0.08:
                self.flat.add(i)
                self.notes.append(f"client {i} on ovn-default")

    def _vpc(self, index: int) -> str:
        if self.layout == "mixed":
            return self.random.choice((f"t-vpc-{index}", "t-vpc-1", "ovn-cluster"))
        return {"own": f"t-vpc-{index}", "shared": "t-vpc-1", "default": "ovn-cluster"}[self.layout]

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def _allowed(self, index: int) -> list[str]:
        r, found = self.random, []
        for _ in range(r.choice((0, 0, 1, 1, 2))):
            other = r.choice([j for j in self.block if j != index])
            found.append(
                r.choice(
                    (
                        cidr(self.block[other]),
                        "10.64.0.0/16",
                        "0.0.0.0/0",
                        f"{address(self.block[other], 3)}/32",
                        f"{address(self.block[other], 0)}/30",
                        "192.168.0.0/16",
                        f"{address(self.block[other], 8)}/29",
                    )
                )
            )
        return found

    def _acls(self, index: int) -> list[Body]:
        r, found = self.random, []
        for _ in range(r.choice((0, 0, 0, 1, 2))):
            other = self.block[r.choice(list(self.block))]
            one, two = cidr(self.block[index]), cidr(other)
            match = r.choice(
                (
                    f"ip4.src == {two}",
                    f"ip4.dst == {two}",
                    f"ip4.src == {one} && ip4.dst == {two}",
                    "ip4",
                    f"(ip4.src == {two} || ip4.dst == {two}) && tcp",
                    f"!(ip4.src == {one})",
                    f"ip4.dst == {{{address(other, 3)}, {address(other, 2)}}}",
                    "tcp.dst == 8080",
                )
            )
            found.append(
                {
                    "direction": r.choice(("to-lport", "to-lport", "from-lport")),
                    "priority": r.choice((500, 1500, 2500, 3500)),
                    "match": match,
                    "action": r.choice(("allow-related", "allow", "drop")),
                }
            )
        return found

    def _policy(self, namespace: str) -> Body:
        r = self.random

        def peers() -> list[Body]:
            other = r.choice(list(self.block))
            block = r.choice((cidr(self.block[other]), "0.0.0.0/0", "10.64.0.0/16"))
            selectors: Body = {"podSelector": {}, "namespaceSelector": {}}
            return r.choice(([{"ipBlock": {"cidr": block}}], [], [selectors]))

        types = r.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
        spec: Body = {"podSelector": {}, "policyTypes": types}
        if "Ingress" in types and self.maybe(0.6):
            found = peers()
            spec["ingress"] = [{"from": found}] if found else [{}]
        if "Egress" in types and self.maybe(0.6):
            found = peers()
            spec["egress"] = [{"to": found}] if found else [{}]
        return body("NetworkPolicy", "extra", namespace, spec)

    def _vpcs(self) -> list[Body]:
        r, names = self.random, sorted({v for v in self.vpc.values() if v != "ovn-cluster"})
        hub = None
        if len(names) > 1 and self.maybe(0.3):
            hub = "t-vpc-hub"
            self.notes.append("hub")
        specs: dict[str, Body] = {
            n: {"namespaces": [f"t-client-{i}" for i in self.block if self.vpc[i] == n]}
            for n in (*names, *([hub] if hub else []))
        }
        links: dict[tuple[str, str], str] = {}
        pairs = [(hub, n) for n in names] if hub else [(a, b) for a in names for b in names if a < b]
        for number, (a, b) in enumerate(pairs):
            kind = r.choice(("none", "both", "both", "one"))
            if not a or kind == "none":
                continue
            ends = {a: f"169.254.{number}.1", b: f"169.254.{number}.2"}
            for here, there in ((a, b), (b, a))[: 2 if kind == "both" else 1]:
                specs[here].setdefault("vpcPeerings", []).append(
                    {"remoteVpc": there, "localConnectIP": f"{ends[here]}/30"}
                )
                links[here, there] = ends[there]
            self.notes.append(f"{kind} sided peering {a} {b}")
        for (here, there), hop in links.items():
            for index, home in self.vpc.items():
                reaches = there in (home, hub)
                if home == here or not reaches or self.maybe(0.35):
                    continue
                block = r.choice(
                    (cidr(self.block[index]), cidr(self.block[index]), f"{address(self.block[index], 3)}/32")
                )
                route = {"policy": "policyDst", "cidr": block, "nextHopIP": hop}
                specs[here].setdefault("staticRoutes", []).append(route)
        for here, spec in specs.items():
            if self.maybe(0.1):
                match = f"ip4.dst == {cidr(r.choice(list(self.block.values())))}"
                hops = [h for (a, _), h in links.items() if a == here] or ["10.64.1.2"]
                spec["policyRoutes"] = [
                    {"priority": 100, "match": match, "action": "reroute", "nextHopIP": r.choice(hops)}
                ]
        return [body("Vpc", name, spec=spec) for name, spec in specs.items()]

    def objects(self) -> list[Body]:
        """The testbed, every pod of it a bare Pod."""
        r = self.random
        spaces = [f"t-client-{i}" for i in self.block]
        found = [body("Namespace", SERVER_NS, labels={"kubeflower.io/role": "server", "kubeflower.io/testbed": "t"})]
        found += self._vpcs()
        mostly_private, mostly_secured = r.choice((0.95, 0.6, 0.3)), r.choice((1.0, 0.9, 0.5))
        dual = r.choice(list(self.block)) if self.maybe(0.12) else None
        marks: dict[str, str] = {}
        networks = []
        for i, block in self.block.items():
            private = self.maybe(mostly_private)
            spec: Body = {
                "private": private,
                "allowSubnets": self._allowed(i) if private else [],
                "acls": self._acls(i),
            }
            if self.maybe(0.1):
                spec["allowEWTraffic"] = True
            provider = f"link-{i}.{SERVER_NS}.ovn"
            config = {"cniVersion": "0.3.1", "type": "kube-ovn", "server_socket": "/s", "provider": provider}
            found.append(subnet(f"t-net-{i}", self.vpc[i], cidr(block), [f"t-client-{i}"], **spec))
            found.append(body("NetworkAttachmentDefinition", f"link-{i}", SERVER_NS, {"config": json.dumps(config)}))
            networks.append({"name": f"link-{i}", "namespace": SERVER_NS})
            marks |= nic(f"t-net-{i}", address(block, 2), self.maybe(mostly_secured), provider)
        for i in self.block:
            labels = {"kubeflower.io/role": "client", "kubeflower.io/client": f"{i}", "kubeflower.io/testbed": "t"}
            found.append(body("Namespace", spaces[i - 1], labels=labels))
            home = self.home[i]
            # Hosts 3, 4 ... keep foreign pods apart from the subnet's own.
            ip = address(self.block[home], 3 if home == i else 3 + i) if self.maybe(0.9) else None
            own = nic(
                "ovn-default" if i in self.flat else f"t-net-{home}",
                None if i in self.flat else ip,
                self.maybe(mostly_secured),
            )
            if i == dual:
                other = r.choice([j for j in self.block if j != i])
                self.notes.append(f"client {i} dual-homed on {other}")
                provider = f"link-{other}.{SERVER_NS}.ovn"
                own |= {MULTUS_NETWORKS: json.dumps([{"name": f"link-{other}", "namespace": SERVER_NS}])}
                own |= nic(
                    f"t-net-{other}",
                    address(self.block[other], 3 + i + self.count),
                    self.maybe(mostly_secured),
                    provider,
                )
            found.append(pod("supernode", spaces[i - 1], "client", own, **{"kubeflower.io/client": f"{i}"}))
            if self.maybe(0.15):
                found.append(self._policy(spaces[i - 1]))
        marks |= nic("t-net-server", "10.60.0.2", True) | {MULTUS_NETWORKS: json.dumps(networks)}
        found.append(subnet("t-net-server", "ovn-cluster", "10.60.0.0/28", [SERVER_NS]))
        found.append(pod("superlink", SERVER_NS, "server", marks))
        return found


def objects(bodies: list[Body]) -> tuple[Object, ...]:
    """The scenario's objects as the policies read them."""
    return tuple(found for b in bodies for found in expand(b, "scenario"))
