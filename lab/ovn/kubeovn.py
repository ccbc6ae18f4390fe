"""Kube-OVN's own controller, as its deployment starts it, against a lab's API server and databases.

It allocates addresses (as annotations on the pods) and writes OVN's northbound database. What its daemon does on every
node is left to ``lab.ovn.ports`` and ``lab.ovn.node``.

Source: Kube-OVN 1.16 ``charts/kube-ovn-v2/templates/controller/controller-deployment.yaml``.
"""

from __future__ import annotations

from lab.api import Api, Object
from lab.controlplane import SERVICES, ports
from lab.daemon import Daemon
from lab.ovn.daemons import sockets
from lab.paths import Paths
from lab.tools import tool

NAME = "kube-ovn-controller"
KUBE_OVN = "/apis/kubeovn.io/v1"
DEFAULT_SUBNET, DEFAULT_CIDR = "ovn-default", "10.16.0.0/16"
JOIN_SUBNET, JOIN_CIDR = "join", "100.64.0.0/16"
# In a mount namespace of its own, for it writes a file in /var/log/kube-ovn, which is not to be the machine's, and Go
# knows no socket with a path of more than 108 characters.
PRIVATE = """mount -t tmpfs private /var/log
mkdir /var/log/kube-ovn /var/log/ovn
mount --bind "$1" /var/log/ovn
shift
exec "$@"
"""
DATABASE = "unix:/var/log/ovn/db.sock"


def controller(paths: Paths) -> Daemon:
    """The controller; it serves when the default and the join subnet are in OVN."""
    arguments = {
        "kubeconfig": paths.kubeconfig,
        "ovn-nb-addr": DATABASE,
        "ovn-sb-addr": DATABASE,
        "default-cidr": DEFAULT_CIDR,
        "node-switch-cidr": JOIN_CIDR,
        "service-cluster-ip-range": SERVICES,
        "pprof-port": ports(paths)[NAME],  # where it answers /healthz
        "enable-metrics": "false",
        "enable-lb": "false",  # the lab's Services are node ports, see lab.ovn.nodeport
    }
    environment = {
        "KUBECONFIG": str(paths.kubeconfig),
        "POD_NAME": NAME,
        "POD_NAMESPACE": "kube-system",
        "POD_IPS": "127.0.0.1",
        "ENABLE_BIND_LOCAL_IP": "true",
    }
    return Daemon(
        NAME,
        (
            *("unshare", "--mount", "sh", "-ec", PRIVATE, "sh", str(sockets(paths).directory), str(tool(NAME))),
            *(f"--{key}={value}" for key, value in arguments.items()),
        ),
        environment,
        ready=lambda: all(is_ready(Api(paths).get(f"{KUBE_OVN}/subnets/{s}")) for s in (DEFAULT_SUBNET, JOIN_SUBNET)),
        restart=True,
    )


def is_ready(subnet: Object) -> bool:
    """Whether the controller has said that this subnet is ready."""
    conditions = (subnet.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
