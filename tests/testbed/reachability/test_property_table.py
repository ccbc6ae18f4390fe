"""The table of properties: whole, true of what the rules do, and what the document shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.contract import MULTUS_NETWORKS, nic_annotation
from testbed.reachability import properties
from testbed.reachability.properties import Property, Table
from tests.testbed.rules import worlds
from tests.testbed.rules.test_mistakes import CLIENT, marks, subnet, vpc
from tests.testbed.rules.worlds import Body

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kube-ovn"
RELEASES: dict[str, Any] = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FIXTURES.glob("*.yaml"))}
# Of ``NetworkSelectionElement`` in k8s.cni.cncf.io/v1, and of Kube-OVN's CNI configuration; both in lower case.
SELECTION = {
    "name", "namespace", "interface", "ips", "mac", "infiniband-guid", "portmappings", "bandwidth", "cni-args",
    "default-route", "ipam-claim-reference", "deviceid",
}  # fmt: skip
CONFIG = {
    "cniversion", "name", "type", "server_socket", "provider", "routes", "ipam", "deviceid", "vf_driver", "plugins",
    "vhost_user_socket_volume_name", "vhost_user_socket_name", "vhost_user_socket_consumption",
}  # fmt: skip
ANNOTATED = (properties.NIC, properties.NAMESPACE, properties.NODE, properties.SERVICE, properties.POLICY)


@pytest.mark.parametrize("release", RELEASES)
def test_every_property_of_a_release_is_in_the_table(release: str) -> None:
    recorded = RELEASES[release]
    outside = {kind for kinds in properties.OUTSIDE for kind in kinds.split()}
    assert set(recorded["kinds"]) <= outside | properties.KINDS.keys()
    missing = {
        f"{kind}.{name}"
        for kind, table in properties.KINDS.items()
        for name in recorded["kinds"][kind]
        if name not in table and not _decided_above(table, name)
    }
    missing |= {f"nic {name}" for name in recorded["nic"] if name not in properties.NIC}
    missing |= {f"ovn {name}" for name in recorded["ovn"] if not any(name in table for table in ANNOTATED)}
    assert not missing


def _decided_above(table: Table, name: str) -> bool:
    """A part of a property that is harmless or a hazard as a whole."""
    whole = table.get(name.partition("[]")[0])
    return whole is not None and whole.status != "modelled"


def test_the_fields_of_a_network_and_of_its_configuration_are_in_the_table() -> None:
    assert properties.SELECTION.keys() == SELECTION
    assert properties.CONFIG.keys() == CONFIG


@pytest.mark.parametrize("table", properties.TABLES.values(), ids=properties.TABLES)
def test_each_has_its_reason(table: Table) -> None:
    for name, found in table.items():
        assert bool(found.why) is (found.status != "modelled"), name


def put(spec: Body, name: str, value: Any) -> None:
    """Set a property by its name in the table, in a list of one where it lies in a list."""
    *above, last = name.split(".")
    for part in above:
        key = part.removesuffix("[]")
        below = spec.setdefault(key, [{}] if part != key else {})
        if part != key and not below:
            below.append({})
        spec = below[0] if part != key else below
    spec[last] = value


def refused(manifests: list[Body]) -> bool:
    return bool(worlds.violations(manifests))


def alone(table: Table) -> list[tuple[str, Property]]:
    """What has a status of its own; a part of a list is set with the whole."""
    return [(name, found) for name, found in table.items() if found.status != "modelled"]


@pytest.mark.parametrize(("name", "found"), alone(properties.SUBNET), ids=lambda one: str(one)[:40])
def test_a_property_of_a_subnet_is_what_the_table_says(name: str, found: Property) -> None:
    manifests = worlds.bodies()
    put(subnet(manifests), name, "x")
    assert refused(manifests) is (found.status == "hazard")


VPC = [(name, found) for name, found in alone(properties.VPC) if "[]" not in name]


@pytest.mark.parametrize(("name", "found"), VPC, ids=lambda one: str(one)[:40])
def test_a_property_of_a_vpc_is_what_the_table_says(name: str, found: Property) -> None:
    manifests = worlds.bodies()
    put(vpc(manifests), name, "x")
    assert refused(manifests) is (found.status == "hazard")


@pytest.mark.parametrize("kind", ["Subnet", "Vpc"])
def test_a_property_that_is_not_in_the_table_is_a_hazard(kind: str) -> None:
    for name in ("other", "acls[].other" if kind == "Subnet" else "staticRoutes[].other"):
        manifests = worlds.bodies()
        put({"Subnet": subnet, "Vpc": vpc}[kind](manifests), name, "x")
        found = worlds.violations(manifests)
        assert any("no supported release" in one.message for one in found), name


@pytest.mark.parametrize("name", [n for n in properties.TYPES if n in properties.SUBNET])
def test_a_value_of_another_type_is_a_hazard(name: str) -> None:
    manifests = worlds.bodies()
    subnet(manifests)[name] = 7
    assert refused(manifests)


NIC = [
    *((name, name not in properties.HAZARDOUS) for name, one in properties.NIC.items() if one.status != "hazard"),
    *((name, False) for name, one in properties.NIC.items() if one.status == "hazard"),
    ("other", False),
]


@pytest.mark.parametrize(("name", "admitted"), NIC, ids=str)
@pytest.mark.parametrize("provider", [None, "link-s001.lab-server.ovn"])
def test_an_annotation_of_a_nic_is_what_the_table_says(name: str, admitted: bool, provider: str | None) -> None:
    if name in ("logical_switch", "ip_address", "ip_pool", "port_security"):
        return  # their value decides
    manifests = worlds.bodies()
    where = CLIENT if provider is None else ("StatefulSet", "superlink", "lab-server")
    marks(manifests, *where)[nic_annotation(name, provider)] = "1"
    found = [v for v in worlds.violations(manifests) if v.rule == "hardened-pods"]
    assert bool(found) is not admitted
    assert all(name in v.message or name in v.field or "port_security" in v.field for v in found)


@pytest.mark.parametrize("name", properties.SELECTION)
def test_a_field_of_a_network_is_what_the_table_says(name: str) -> None:
    status = properties.SELECTION[name].status
    if status == "modelled":
        return
    manifests = worlds.bodies()
    notes = marks(manifests, "StatefulSet", "superlink", "lab-server")
    networks = yaml.safe_load(notes[MULTUS_NETWORKS])
    networks[0][name] = ["10.64.0.9"]
    notes[MULTUS_NETWORKS] = str(networks).replace("'", '"')
    assert refused(manifests) is (status == "hazard")


@pytest.mark.parametrize("kind", ["Namespace", "Service"])
def test_an_annotation_of_a_testbeds_object_is_what_the_table_says(kind: str) -> None:
    table = properties.NAMESPACE if kind == "Namespace" else properties.SERVICE
    for name in (*table, "other"):
        found = table.get(name, properties.UNKNOWN)
        if found.status == "modelled":
            continue  # its value decides
        manifests = worlds.bodies()
        one = worlds.one(manifests, kind, "lab-server" if kind == "Namespace" else "superlink")
        one["metadata"].setdefault("annotations", {})[nic_annotation(name)] = "x"
        assert refused(manifests) is (found.status != "harmless"), name


def test_the_document_shows_the_table() -> None:
    shown = Path("docs/properties.md").read_text()
    assert shown == properties.document(), "write it again: python -m testbed.reachability.properties"
