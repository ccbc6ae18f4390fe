"""The Kubernetes control plane of a lab: etcd, API server, controller manager and scheduler on loopback."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from random import SystemRandom

from kubernetes import client, config

from lab.daemon import Daemon
from lab.errors import LabError
from lab.group import Group
from lab.paths import Paths
from lab.pki import Authority, kubeconfig, write_private
from lab.tools import tool as find_tool
from lab.tools import tools as find_tools

SERVICES = "10.96.0.0/12"
FREE = range(20000, 30000)  # below node ports, and below what Linux lends to connections between choice and use
PORTS = ("etcd", "etcd-peer", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-ovn-controller")
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def _free_ports(count: int) -> list[int]:
    """Ports that are free on loopback now; held until all are known, so that they differ."""
    with ExitStack() as held:
        found: list[int] = []
        for number in SystemRandom().sample(FREE, len(FREE)):
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", number)))
                found.append(number)
            if len(found) == count:
                break
        return found


def ports(paths: Paths, *more: str) -> dict[str, int]:
    """The loopback port of each server, and of ``more``: chosen once and kept as long as the cluster lives."""
    record = paths.run / "ports.json"
    known: dict[str, int] = json.loads(record.read_text()) if record.exists() else {}
    if new := [name for name in (*PORTS, *more) if name not in known]:
        known |= zip(new, _free_ports(len(new)), strict=True)
        write_private(record, json.dumps(known).encode())
    return known


def prepare(paths: Paths, nodes: Sequence[str] = ()) -> None:
    """Make the certificates, keys and kubeconfigs of a cluster and its nodes; a cluster that has them keeps them."""
    pki = paths.run / "pki"
    if paths.kubeconfig.exists() and (pki / "complete").exists():
        return
    shutil.rmtree(pki, ignore_errors=True)
    authority = Authority(pki)
    loopback = ("127.0.0.1", "localhost")
    authority.issue("etcd", "etcd", hosts=loopback)
    authority.issue("etcd-client", "kube-apiserver")
    authority.issue("kube-apiserver", "kube-apiserver", hosts=(*loopback, "kubernetes.default.svc", "10.96.0.1"))
    authority.issue("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")  # as kubeadm has it
    authority.issue("admin", "admin", "system:masters")
    authority.signing_key("service-account")
    server = f"https://127.0.0.1:{ports(paths)['kube-apiserver']}"
    for name in ("kube-controller-manager", "kube-scheduler"):
        authority.issue(name, f"system:{name}")
        write_private(pki / f"{name}.kubeconfig", kubeconfig(pki, server, name))
    for name in nodes:
        authority.issue(f"node-{name}", f"system:node:{name}", "system:nodes", hosts=loopback)
        write_private(pki / f"node-{name}.kubeconfig", kubeconfig(pki, server, f"node-{name}"))
    write_private(paths.kubeconfig, kubeconfig(pki, server, "admin"))
    (pki / "complete").touch()


def daemons(paths: Paths, nodes: Sequence[str] = (), tools: Mapping[str, Path] | None = None) -> list[Daemon]:
    """The control plane's daemons, in the order in which they start.

    Args:
        paths: the lab's folder.
        nodes: names of the cluster's nodes, which get their certificates.
        tools: program name to path; found or built when absent.
    """
    programs = dict(tools or find_tools(PROGRAMS))
    port, pki = ports(paths), paths.run / "pki"
    etcd = f"https://127.0.0.1:{port['etcd']}"
    peer = f"https://127.0.0.1:{port['etcd-peer']}"
    etcd_args = {
        "name": "lab",
        "data-dir": paths.run / "etcd",
        "listen-client-urls": etcd,
        "advertise-client-urls": etcd,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"lab={peer}",
        "cert-file": pki / "etcd.crt",
        "key-file": pki / "etcd.key",
        "trusted-ca-file": pki / "ca.crt",
        "client-cert-auth": "true",
        "peer-cert-file": pki / "etcd.crt",
        "peer-key-file": pki / "etcd.key",
        "peer-trusted-ca-file": pki / "ca.crt",
        "peer-client-cert-auth": "true",
        "unsafe-no-fsync": "true",  # the cluster ends with the lab; what must last is on the nodes' disks
        "log-level": "warn",
    }
    apiserver_args = {
        "etcd-servers": etcd,
        "etcd-cafile": pki / "ca.crt",
        "etcd-certfile": pki / "etcd-client.crt",
        "etcd-keyfile": pki / "etcd-client.key",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": port["kube-apiserver"],
        "endpoint-reconciler-type": "none",  # a loopback address is no valid endpoint
        "tls-cert-file": pki / "kube-apiserver.crt",
        "tls-private-key-file": pki / "kube-apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-preferred-address-types": "InternalIP",  # loopback; a node's name resolves to nothing
        "kubelet-client-certificate": pki / "kubelet-client.crt",
        "kubelet-client-key": pki / "kubelet-client.key",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "service-cluster-ip-range": SERVICES,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "service-account.pub",
        "service-account-signing-key-file": pki / "service-account.key",
        "profiling": "false",
    }
    common = {"leader-elect": "false", "bind-address": "127.0.0.1", "profiling": "false"}
    manager_args = {
        **common,
        "secure-port": port["kube-controller-manager"],
        "service-account-private-key-file": pki / "service-account.key",
        "root-ca-file": pki / "ca.crt",
        "use-service-account-credentials": "true",
        "pvclaimbinder-sync-period": "1s",  # a volume declared after its claim is bound at the next look, not in 15 s
    }
    scheduler_args = {**common, "secure-port": port["kube-scheduler"]}
    return [
        Daemon(
            "etcd",
            _argv(programs["etcd"], etcd_args),
            prepare=partial(prepare, paths, nodes),
            ready=partial(_accepts, port["etcd"]),
        ),
        Daemon(
            "kube-apiserver",
            _argv(programs["kube-apiserver"], apiserver_args),
            ready=partial(_healthy, pki, port["kube-apiserver"], "/readyz"),
        ),
        *(
            Daemon(
                name,
                _argv(programs[name], {**args, **_identity(pki, name)}),
                ready=partial(_healthy, pki, port[name], "/healthz"),
            )
            for name, args in (("kube-controller-manager", manager_args), ("kube-scheduler", scheduler_args))
        ),
    ]


def _argv(program: Path, args: Mapping[str, object]) -> tuple[str, ...]:
    return (str(program), *(f"--{key}={value}" for key, value in args.items()))


def _identity(pki: Path, name: str) -> dict[str, Path]:
    """Flags by which a controller says who it is and asks the API server who its callers are."""
    path = pki / f"{name}.kubeconfig"
    return {
        "kubeconfig": path,
        "authentication-kubeconfig": path,
        "authorization-kubeconfig": path,
    }


def _accepts(port: int) -> bool:
    """Tell whether something listens on a loopback port."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def _healthy(pki: Path, port: int, path: str) -> bool:
    """Tell whether a server answers 200; controllers serve a certificate of their own making."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    if path == "/healthz":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", context=context, timeout=5) as reply:
        return bool(reply.status == 200)


def api(paths: Paths) -> client.ApiClient:
    """A client of the lab's API server with the administrator's credentials."""
    connection: client.ApiClient = config.new_client_from_config(str(paths.kubeconfig))
    return connection


def apply_crds(paths: Paths) -> None:
    """Apply the CustomResourceDefinitions that Kube-OVN's module carries and wait until they are served.

    Raises:
        LabError: the API server refuses one, or does not establish it within 30 seconds.
    """
    files = sorted(find_tool("kube-ovn-controller").parent.glob("*.yaml"))
    for arguments in (
        ("apply", "--server-side", *(f"--filename={file}" for file in files)),
        ("wait", "--for=condition=Established", "--timeout=30s", "customresourcedefinitions", "--all"),
    ):
        argv = [str(find_tool("kubectl")), f"--kubeconfig={paths.kubeconfig}", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"Kube-OVN's definitions: {done.stderr.strip()}")


@contextmanager
def start(paths: Paths) -> Iterator[Paths]:
    """Run the control plane alone, with the lab's CRDs, for as long as the block lasts: for tests."""
    with Group(paths) as group:
        for daemon in daemons(paths):
            group.start(daemon)
        apply_crds(paths)
        yield paths
