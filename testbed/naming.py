"""Names of everything a testbed owns, as pure functions of the testbed's name and an id.

Two testbeds never share a name: every name is ``<testbed>-<word>-…`` with a word no testbed's name may contain.
"""

from __future__ import annotations

import re

# Words that separate a testbed's name from the rest; ``testbed.spec`` refuses them within a testbed's name.
RESERVED = frozenset({"client", "net", "server", "vpc"})
SERVER = "server"  # the group of the server's own subnet; no client network may be called so


def server_namespace(testbed: str) -> str:
    """Namespace of the server, the run and the network attachment definitions."""
    return f"{testbed}-server"


def client_namespace(testbed: str, client: str) -> str:
    """Namespace of one client: its SuperNode, its P3-VC Job, its claims."""
    return f"{testbed}-client-{client}"


def vpc(testbed: str, group: str) -> str:
    """VPC of a client network. Never equal to a subnet's name: Kube-OVN would merge their router ports."""
    return f"{testbed}-vpc-{group}"


def subnet(testbed: str, group: str) -> str:
    """Subnet of a client network, or of the server with group ``server``."""
    return f"{testbed}-net-{group}"


def attachment(group: str) -> str:
    """NetworkAttachmentDefinition, in the server's namespace, of one client network."""
    return f"link-{group}"


def provider(testbed: str, group: str) -> str:
    """Kube-OVN provider of the server's NIC on a client network: ``<nad>.<namespace>.ovn``."""
    return f"{attachment(group)}.{server_namespace(testbed)}.ovn"


def slot_group(slot: int) -> str:
    """Group name of a client slot that has a network of its own."""
    return f"s{slot:03d}"


def node_group(node: str) -> str:
    """Group name of a node's shared network: no dots, because Kube-OVN splits a provider at them.

    No two nodes share one: ``a.b`` is ``a--b``, and what has two dashes or more in a row gets one more. In a name that
    Kubernetes takes for a node no dot is next to a dash or another dot (RFC 1123 subdomain).
    """
    return re.sub(r"\.|-{2,}", lambda found: "--" if found[0] == "." else f"{found[0]}-", host(node))


def host(node: str) -> str:
    """Name of a node in Kubernetes, which knows lower case only."""
    return node.lower()


def release_job(claim: str) -> str:
    """P3-VC Job, in its client's namespace, of a claim ``<client>-<digest>``."""
    return f"p3vc-{claim.rpartition('-')[2]}"


def grant_job(run: str) -> str:
    """P3-VC Job, in its client's namespace, that grants a run."""
    return f"grant-{run}"


def volume(namespace: str, purpose: str) -> str:
    """PersistentVolume (cluster-scoped) that serves the claim ``purpose`` of ``namespace``."""
    return f"{namespace}-{purpose}"


def storage_class(testbed: str) -> str:
    """StorageClass of a testbed's node-local volumes."""
    return f"{testbed}-local"
