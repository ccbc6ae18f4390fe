"""Names of everything a testbed owns, as pure functions of the testbed's name and an id."""

from __future__ import annotations

import re

DNS_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")


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


def volume(testbed: str, owner: str, purpose: str) -> str:
    """PersistentVolume (cluster-scoped) of ``owner`` (a client id or ``server``)."""
    return f"{testbed}-{owner}-{purpose}"


def storage_class(testbed: str) -> str:
    """StorageClass of a testbed's node-local volumes."""
    return f"{testbed}-local"
