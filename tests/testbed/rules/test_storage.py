"""Ways to a volume by another name, and what the rule says of each."""

from __future__ import annotations

from typing import Any

import pytest

from . import worlds
from .worlds import Body

RULE = "p3vc-only"
E1, E3, SERVER = "lab-client-e1", "lab-client-e3", "lab-server"


def said(manifests: list[Body]) -> list[str]:
    return [v.message for v in worlds.violations(manifests) if v.rule == RULE]


def pod(manifests: list[Body], kind: str = "StatefulSet", name: str = "supernode", namespace: str = E1) -> Body:
    return worlds.template(worlds.one(manifests, kind, name, namespace))["spec"]  # type: ignore[no-any-return]


def volume(manifests: list[Body], name: str) -> Body:
    return worlds.one(manifests, "PersistentVolume", name)["spec"]  # type: ignore[no-any-return]


def claim(manifests: list[Body], name: str = "private", namespace: str = E1) -> Body:
    return worlds.one(manifests, "PersistentVolumeClaim", name, namespace)["spec"]  # type: ignore[no-any-return]


def spare(manifests: list[Body], **spec: Any) -> None:
    """Add a second PersistentVolume on the raw data's folder."""
    body = {k: v for k, v in volume(manifests, f"{E1}-raw").items() if k != "claimRef"}
    add(manifests, "PersistentVolume", "spare", spec={**body, **spec})


def add(manifests: list[Body], kind: str, name: str, namespace: str | None = None, **rest: Any) -> None:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    manifests.append({"apiVersion": "v1", "kind": kind, "metadata": meta, **rest})


def mount(spec: Body, folder: str = "/loot", **source: Any) -> None:
    spec.setdefault("volumes", []).append({"name": "x", **source})
    spec["containers"][-1].setdefault("volumeMounts", []).append({"name": "x", "mountPath": folder})


def stranger(manifests: list[Body], **source: Any) -> None:
    spec: Body = {"containers": [{"name": "x", "image": "y"}]}
    mount(spec, **source)
    add(manifests, "Pod", "stranger", "far", spec=spec)


def ephemeral(**spec: Any) -> Body:
    return {"volumeClaimTemplate": {"spec": {"storageClassName": "lab-local", **spec}}}


def template(manifests: list[Body], name: str, owner: str, namespace: str) -> None:
    """Let a StatefulSet have a template, whose claim exists already and binds raw data."""
    made = {"metadata": {"name": name}, "spec": {"storageClassName": "lab-local"}}
    worlds.one(manifests, "StatefulSet", owner, namespace)["spec"]["volumeClaimTemplates"] = [made]
    spec = {"storageClassName": "lab-local", "volumeName": "spare"}
    add(manifests, "PersistentVolumeClaim", f"{name}-{owner}-0", namespace, spec=spec)


@pytest.mark.parametrize(
    "source",
    [{"ephemeral": ephemeral(volumeName="spare")}, {"nfs": {"server": "nas", "path": "/"}}, {"image": {}}],
    ids=["ephemeral", "nfs", "image"],
)
@pytest.mark.parametrize("place", [("StatefulSet", "supernode", E1), ("StatefulSet", "superlink", SERVER)], ids=str)
def test_a_source_beside_the_known_ones_is_refused(source: Body, place: tuple[str, str, str]) -> None:
    manifests = worlds.bodies()
    spare(manifests)
    mount(pod(manifests, *place), **source)
    assert any(f"a volume of kind {next(iter(source))} may hold anything" in m for m in said(manifests))


def test_an_ephemeral_volume_on_raw_data_is_raw_data() -> None:
    manifests = worlds.bodies()
    spare(manifests)
    mount(pod(manifests), ephemeral=ephemeral(volumeName="spare"))
    assert "client lab/e1 mounts its raw data" in said(manifests)


def test_a_stranger_may_bind_a_volume_that_is_reserved_for_nobody() -> None:
    manifests = worlds.bodies()
    stranger(manifests, ephemeral=ephemeral())
    assert not said(manifests), "every volume is reserved"
    spare(manifests)
    assert "client lab/e1 and namespace far share storage" in said(manifests)


def test_a_template_takes_the_place_of_the_volume_of_its_name() -> None:
    manifests = worlds.bodies()
    spare(manifests)
    template(manifests, "private", "supernode", E1)
    assert "client lab/e1 mounts its raw data" in said(manifests)


def test_a_template_is_refused() -> None:
    manifests = worlds.bodies()
    spare(manifests)
    template(manifests, "x", "superlink", SERVER)
    mounted = pod(manifests, "StatefulSet", "superlink", SERVER)["containers"][0]["volumeMounts"]
    mounted.append({"name": "x", "mountPath": "/loot"})
    messages = said(manifests)
    assert any("kind volumeClaimTemplate may hold anything" in m for m in messages)
    assert any("share storage" in m for m in messages), "the claim that exists already is the one it gets"


def test_a_relative_path_is_below_the_root() -> None:
    manifests = worlds.bodies()
    for kind in ("initContainers", "containers"):
        for entry in pod(manifests, "Job", "p3vc-")[kind][0]["volumeMounts"]:
            if entry["mountPath"] == "/raw":
                entry.update(mountPath="raw", readOnly=False)
    assert "it can change the raw data" in said(manifests)


@pytest.mark.parametrize("path", ["//var/lib/kubeflower/lab/e1", "/var/lib/kubeflower/x/../lab/e1/raw/"])
def test_a_folder_has_one_name(path: str) -> None:
    manifests = worlds.bodies()
    stranger(manifests, hostPath={"path": path})
    assert "client lab/e1 and namespace far share storage" in said(manifests)


def on(manifests: list[Body], name: str, **source: Any) -> None:
    spec = volume(manifests, name)
    for key in ("local", "nodeAffinity"):
        spec.pop(key)
    spec.update(source)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ({"path": "/exports/e1"}, {"path": "/exports"}, True),
        ({"path": "/exports/e1"}, {"path": "/exports/e1", "readOnly": True}, True),
        ({"path": "/exports/e1"}, {"path": "/exports/e1", "server": "NAS."}, True),
        ({"path": "/exports/e1"}, {"path": "/exports/e3"}, False),
        ({"path": "/exports/e1"}, {"path": "/exports/e10"}, False),
        ({"path": "/exports/e1"}, {"path": "/exports/e1", "server": "other"}, False),
    ],
)
def test_an_export_is_a_folder_of_its_server(one: Body, other: Body, *, shared: bool) -> None:
    manifests = worlds.bodies()
    on(manifests, f"{E1}-raw", nfs={"server": "nas", **one})
    on(manifests, f"{E3}-private", nfs={"server": "nas", **other})
    assert any("client lab/e1" in m and "client lab/e3" in m for m in said(manifests)) == shared
    assert shared or not said(manifests)


def test_a_handle_is_one_volume_whatever_else_it_says() -> None:
    manifests = worlds.bodies()
    on(manifests, f"{E1}-private", csi={"driver": "d", "volumeHandle": "h", "fsType": "ext4"})
    assert not said(manifests)
    on(manifests, f"{E3}-private", csi={"driver": "d", "volumeHandle": "h"})
    assert any("share storage" in m for m in said(manifests))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"csi": {"driver": "d", "volumeHandle": "h", "volumeAttributes": {"share": "/x"}}}, "another handle"),
        ({"iscsi": {"targetPortal": "nas", "iqn": "i", "lun": 0}}, "none of local, hostPath, nfs and csi"),
    ],
)
def test_storage_that_cannot_be_compared_is_refused(source: Body, says: str) -> None:
    manifests = worlds.bodies()
    on(manifests, f"{E1}-private", **source)
    assert any("cannot prove which storage" in m and says in m for m in said(manifests))


def test_a_reserved_volume_that_does_not_fit_is_passed_over() -> None:
    manifests = worlds.bodies()
    spare(manifests, capacity={"storage": "20Gi"})
    mine = claim(manifests)
    mine.pop("volumeName")
    mine["resources"]["requests"]["storage"] = "10Gi"
    messages = said(manifests)
    assert any("set spec.volumeName" in m for m in messages)
    assert "client lab/e1 mounts its raw data" in messages


def test_the_server_shares_with_no_stranger() -> None:
    manifests = worlds.bodies()
    stranger(manifests, hostPath={"path": "/var/lib/kubeflower/lab/server"})
    assert "namespace lab-server and namespace far share storage" in said(manifests)


def test_one_client_has_its_data_under_one_name() -> None:
    manifests = worlds.bodies()
    volume(manifests, f"{E1}-raw")["local"]["path"] = "/data"
    volume(manifests, f"{E1}-private")["local"]["path"] = "/data/private"
    assert "two volumes of client lab/e1 are one storage" in said(manifests)


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/var/lib/kubelet", True),
        ("/var/lib/kubelet/pods/a", True),
        ("/var", True),
        ("/var/lib/kubelet/device-plugins", False),
    ],
)
def test_the_kubelet_has_every_volume_of_its_node(path: str, *, seen: bool) -> None:
    manifests = worlds.bodies()
    volume(manifests, f"{E1}-raw")["local"]["path"] = "/data"
    on(manifests, f"{E1}-private", csi={"driver": "d", "volumeHandle": "h"})
    stranger(manifests, hostPath={"path": path})
    found = [v for v in worlds.violations(manifests) if v.rule == RULE]
    assert any("client lab/e1 and namespace far" in v.message for v in found) == seen
    assert all(v.witness for v in found)


def test_a_persistent_volume_of_the_kubelet_has_them_too() -> None:
    manifests = worlds.bodies()
    elsewhere = volume(manifests, f"{E3}-raw")["nodeAffinity"]
    spare(manifests, local={"path": "/var/lib/kubelet/plugins"}, nodeAffinity=elsewhere)
    on(manifests, f"{E1}-private", csi={"driver": "d", "volumeHandle": "h"})
    stranger(manifests, ephemeral=ephemeral(volumeName="spare"))
    assert "client lab/e1 and namespace far share storage" in said(manifests)
