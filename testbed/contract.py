"""What the declaring side and the pods agree on: labels, annotations, mounts, ports and file names.

Components write these, policies and the lab read them, and workloads receive them as argv, environment and
files. Nothing here imports anything, so both environments can test against it.
"""

from __future__ import annotations

DOMAIN = "kubeflower.io"

# Identity. On namespaces, pod templates and every object a testbed owns.
LABEL_TESTBED = f"{DOMAIN}/testbed"
LABEL_ROLE = f"{DOMAIN}/role"
LABEL_CLIENT = f"{DOMAIN}/client"
LABEL_NETWORK = f"{DOMAIN}/network"
ROLE_SERVER = "server"
ROLE_CLIENT = "client"
ROLE_P3VC = "p3vc"
ROLE_RUN = "run"
ROLES = (ROLE_SERVER, ROLE_CLIENT, ROLE_P3VC, ROLE_RUN)

# Node labels.
LABEL_NODE_TIER = f"{DOMAIN}/tier"  # cloud | edge | control-plane
LABEL_NODE_DOMAIN = f"{DOMAIN}/domain"
LABEL_NODE_GPU = f"{DOMAIN}/gpu"  # model, lower case
LABEL_HOSTNAME = "kubernetes.io/hostname"

# Which the API server puts on every namespace.
LABEL_NAMESPACE_NAME = "kubernetes.io/metadata.name"

# What a P3-VC Job says about itself; the policy compares these with the job's real argv.
ANNOTATION_EPSILON = f"{DOMAIN}/epsilon"
ANNOTATION_DELTA = f"{DOMAIN}/delta"  # of a grant, whose noise is Gaussian
ANNOTATION_MECHANISM = f"{DOMAIN}/mechanism"
ANNOTATION_CLAIM = f"{DOMAIN}/claim"
ANNOTATION_DATASET = f"{DOMAIN}/dataset"
ANNOTATION_PARTITION = f"{DOMAIN}/partition"  # "index/count", present only under a disjointness assertion
ANNOTATION_DISJOINT = f"{DOMAIN}/disjoint"  # the recorded assertion, in words
# The declared isolation level and the group a client's network belongs to, on the client's namespace.
ANNOTATION_ISOLATION = f"{DOMAIN}/isolation"

# Digest of the mounted files a pod must restart for.
ANNOTATION_CHECKSUM = f"{DOMAIN}/checksum"

# Kube-OVN (v1.12+) and Multus.
OVN_PREFIX = "ovn.kubernetes.io"
DEFAULT_VPC = "ovn-cluster"
MULTUS_NETWORKS = "k8s.v1.cni.cncf.io/networks"

# Paths inside the pods.
MOUNT_RAW = "/raw"  # p3vc only, read-only: subPath "data" of the raw volume
MOUNT_LEDGER = "/ledger"  # p3vc only: subPath "ledger" of the raw volume
MOUNT_SEEDS = "/seeds"  # p3vc's release only: subPath "seeds" of the raw volume
MOUNT_PRIVATE = "/private"  # p3vc read-write; client read-only
MOUNT_CA = "/etc/kubeflower/ca"  # ca.crt
MOUNT_TLS = "/etc/kubeflower/tls"  # tls.crt, tls.key
MOUNT_KEY = "/etc/kubeflower/key"  # client: id (OpenSSH private key)
MOUNT_PUBLIC_KEYS = "/etc/kubeflower/public-keys"  # run: <client>.pub
MOUNT_SUPEREXEC = "/etc/kubeflower/superexec"  # secret
MOUNT_STATE = "/state"  # superlink database
MOUNT_RESULTS = "/results"  # server's ServerApp writes, run reads
MOUNT_HOME = "/app"  # HOME, an emptyDir; uid 49999 as in Flower's own images
SUBPATH_DATA = "data"
SUBPATH_LEDGER = "ledger"
SUBPATH_SEEDS = "seeds"

UID = 49999

PORT_SUPERNODE_RUNTIME = 9094
PORT_HEALTH = 9095

TERMINATION_LOG = "/dev/termination-log"


def nic_annotation(field: str, provider: str | None = None) -> str:
    """Return the pod annotation key of a Kube-OVN NIC field.

    Args:
        field: for example ``logical_switch``, ``ip_address``, ``port_security``.
        provider: ``<nad>.<namespace>.ovn`` for a secondary NIC, None for the primary one.

    Source: Kube-OVN ``pkg/util/const.go`` (``<provider>.kubernetes.io/<field>``).
    """
    return f"{provider or 'ovn'}.kubernetes.io/{field}"
