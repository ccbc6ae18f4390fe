"""Pulumi's own Kubernetes provider under the real engine, against a real API server and its controllers.

What this project relies on: previews that the server has judged, no difference after an update, refresh, import,
replacement, awaits that fail with a reason, and deletion.
"""

from __future__ import annotations

import base64
import re
import subprocess
import threading
import time

import pytest

from lab.api import MERGE, Api, ApiError
from tests.lab.plugins.conftest import Project

pytestmark = pytest.mark.engine

APPLY = "application/apply-patch+yaml"
FORCE = {"PULUMI_K8S_ENABLE_PATCH_FORCE": "true"}
MAPS = "/api/v1/namespaces/default/configmaps"
REPLACED = ("replace", "create-replacement", "delete-replaced")


def config_map(cluster: Api, manager: str, name: str, data: dict[str, str]) -> None:
    """Applies an object as somebody other than Pulumi."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    cluster.patch(f"{MAPS}/{name}?fieldManager={manager}&force=true", body, APPLY)


def exists(cluster: Api, path: str) -> bool:
    try:
        cluster.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    return True


def test_life_of_a_stack(project: Project, cluster: Api) -> None:
    """Create, nothing to do, update, replace, destroy."""
    program = """
        space = k8s.core.v1.Namespace("space", metadata={{"labels": {{"level": "{label}"}}}})
        auto = k8s.core.v1.ConfigMap("auto", metadata={{"namespace": space.metadata.name}}, data={{"k": "{data}"}})
        named = k8s.core.v1.ConfigMap(
            "named", metadata={{"namespace": space.metadata.name, "name": "named"}}, data={{"k": "{data}"}})
        secret = k8s.core.v1.Secret(
            "secret", metadata={{"namespace": space.metadata.name}}, string_data={{"password": "hunter2"}})
        quota = k8s.core.v1.ResourceQuota(
            "quota", metadata={{"namespace": space.metadata.name}}, spec={{"hard": {{"requests.cpu": "1000m"}}}})
        port = k8s.core.v1.Service(
            "port", metadata={{"namespace": space.metadata.name, "annotations": {{"pulumi.com/skipAwait": "true"}}}},
            spec={{"type": "NodePort", "ports": [{{"port": 80}}]}})
        pulumi.export("space", space.metadata.name)
        pulumi.export("auto", auto.metadata.name)
        pulumi.export("uid", space.metadata.uid)
        pulumi.export("port", port.spec.ports[0].node_port)
        pulumi.export("data", secret.data)
    """
    project.program(program.format(label="1", data="a"))
    assert {step["op"] for step in project.preview().values()} == {"create"}
    text = project.up()
    assert "warning" not in text
    assert "hunter2" not in text
    assert "data : [secret]" in text
    first = project.outputs()
    assert re.fullmatch(r"space-[0-9a-f]{8}", first["space"])
    assert 30000 <= first["port"] <= 32767
    assert base64.b64decode(first["data"]["password"]) == b"hunter2"
    assert "hunter2" not in (project.folder.parent / "backend/.pulumi/stacks/probe/test.json").read_text()
    maps = f"/api/v1/namespaces/{first['space']}/configmaps"
    managers = {entry["manager"] for entry in cluster.get(f"{maps}/named")["metadata"]["managedFields"]}
    assert re.fullmatch(r"pulumi-kubernetes-[0-9a-f]{8}", managers.pop())
    assert not managers

    assert project.preview("--expect-no-changes") == {}

    project.program(program.format(label="2", data="b"))
    steps = project.preview("--diff")
    assert steps["space"]["op"] == "update"
    assert list(steps["space"]["detailedDiff"]) == ["metadata.labels.level"]
    assert steps["named"]["op"] in REPLACED
    project.up()
    second = project.outputs()
    assert second["uid"] == first["uid"]
    assert second["auto"] != first["auto"]
    assert cluster.get(f"{maps}/named")["data"] == {"k": "b"}
    assert not exists(cluster, f"{maps}/{first['auto']}")

    project.run("destroy", "--yes", "--skip-preview")
    assert not exists(cluster, f"/api/v1/namespaces/{first['space']}")


def test_patch_sets_its_fields_and_gives_them_up(project: Project, cluster: Api) -> None:
    config_map(cluster, "owner", "patched", {"mine": "1"})
    program = 'k8s.core.v1.ConfigMapPatch("patch", metadata={{"name": "patched"}}, data={{"{key}": "{value}"}})'
    project.program(program.format(key="ours", value="2"))
    assert project.preview()["patch"]["op"] == "create"
    project.up()
    assert cluster.get(f"{MAPS}/patched")["data"] == {"mine": "1", "ours": "2"}
    project.program(program.format(key="ours", value="3"))
    project.up()
    assert cluster.get(f"{MAPS}/patched")["data"] == {"mine": "1", "ours": "3"}
    project.run("destroy", "--yes", "--skip-preview")
    assert cluster.get(f"{MAPS}/patched")["data"] == {"mine": "1"}

    # A field that another manager owns is not taken without being told to.
    project.program(program.format(key="mine", value="4"))
    assert 'conflict with "owner"' in project.up(ok=False)
    project.program("""
        k8s.core.v1.ConfigMapPatch(
            "patch", metadata={"name": "patched", "annotations": {"pulumi.com/patchForce": "true"}}, data={"mine": "4"})
    """)
    project.up()
    assert cluster.get(f"{MAPS}/patched")["data"] == {"mine": "4"}


def test_custom_resource_made_with_its_definition(project: Project, cluster: Api) -> None:
    program = """
        definition = k8s.apiextensions.v1.CustomResourceDefinition(
            "definition",
            metadata={{"name": "links.probe.example.com"}},
            spec={{
                "group": "probe.example.com",
                "scope": "Namespaced",
                "names": {{"plural": "links", "singular": "link", "kind": "Link"}},
                "versions": [{{"name": "v1", "served": True, "storage": True, "schema": {{"openAPIV3Schema": {{
                    "type": "object", "properties": {{"spec": {{
                        "type": "object", "properties": {{
                            "to": {{"type": "string", "minLength": 3}}, "n": {{"type": "integer"}}}}}}}}}}}}}}],
            }},
        )
        link = k8s.apiextensions.CustomResource(
            "link", api_version="probe.example.com/v1", kind="Link", metadata={{"name": "link"}},
            spec={spec}, opts=pulumi.ResourceOptions(depends_on=[definition]))
        pulumi.export("id", link.id)
    """
    project.program(program.format(spec='{"to": "there", "n": 3}'))
    project.preview()
    project.up()
    assert project.outputs()["id"] == "default/link"
    link = cluster.get("/apis/probe.example.com/v1/namespaces/default/links/link")
    assert link["spec"] == {"to": "there", "n": 3}
    project.preview("--expect-no-changes")

    project.program(program.format(spec='{"to": "x", "n": 3}'))
    assert "spec.to in body should be at least 3 chars long" in project.run("preview", ok=False)


def test_what_the_server_would_refuse_is_refused_at_preview(project: Project, cluster: Api) -> None:
    project.program("""
        fine = k8s.core.v1.ConfigMap("fine", metadata={"name": "not-made"}, data={"k": "v"})
        k8s.core.v1.Service(
            "service", metadata={"name": "service"}, spec={"ports": [{"port": 99999}]},
            opts=pulumi.ResourceOptions(depends_on=[fine]))
    """)
    text = project.run("up", "--yes", ok=False)
    assert "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535" in text
    assert not exists(cluster, f"{MAPS}/not-made")


def fail_pods(cluster: Api, selector: str, message: str) -> threading.Thread:
    """Lets the first pod with the labels fail, as a node would report it."""

    def work() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for pod in cluster.get(f"/api/v1/namespaces/default/pods?labelSelector={selector}")["items"]:
                ended = {"exitCode": 3, "reason": "Error", "message": message}
                container = {"name": "work", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
                status = {"phase": "Failed", "containerStatuses": [{**container, "state": {"terminated": ended}}]}
                name = pod["metadata"]["name"]
                cluster.patch(f"/api/v1/namespaces/default/pods/{name}/status", {"status": status}, MERGE)
                return
            time.sleep(0.1)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


JOB = """
    k8s.batch.v1.Job(
        "job",
        metadata={{"name": "release", "annotations": {annotations}}},
        spec={{"backoffLimit": 0, "template": {{
            "metadata": {{"labels": {{"run": "release"}}}},
            "spec": {{"restartPolicy": "Never", "containers": [{{"name": "work", "image": "{image}"}}]}}}}}},
    )
"""


def test_failed_job_says_why_and_is_run_again(project: Project, cluster: Api) -> None:
    retry = '{"pulumi.com/replaceUnready": "true"}'
    project.program(JOB.format(image="one", annotations=retry))
    thread = fail_pods(cluster, "run=release", "ledger: budget 0.7 is spent, 0.1 was asked for")
    text = project.up(ok=False)
    thread.join()
    assert "BackoffLimitExceeded" in text
    # The job is in the state, so the next update knows it: its failure replaces it, and so does a changed template.
    assert project.preview()["job"]["op"] in REPLACED
    project.program(JOB.format(image="two", annotations='{"pulumi.com/skipAwait": "true"}'))
    assert project.preview()["job"]["op"] in REPLACED
    project.up()
    project.preview("--expect-no-changes")


def test_wait_says_what_for_and_ends_in_time(project: Project) -> None:
    project.program("""
        k8s.core.v1.Pod(
            "pod", metadata={"name": "never"}, spec={"containers": [{"name": "c", "image": "i"}]},
            opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="2s")))
    """)
    text = project.up(ok=False)
    assert "no nodes available to schedule pods" in text
    project.run("destroy", "--yes", "--skip-preview")


CLAIM = """
    k8s.storage.v1.StorageClass(
        "class", metadata={{"name": "prepared"}}, provisioner="kubernetes.io/no-provisioner",
        volume_binding_mode="WaitForFirstConsumer")
    k8s.core.v1.PersistentVolumeClaim(
        "claim", metadata={{"name": "claim", "annotations": {annotations}}},
        spec={{"accessModes": ["ReadWriteOnce"], "resources": {{"requests": {{"storage": "1Gi"}}}},
               "storageClassName": "prepared", "volumeName": "volume"}})
"""


def test_claim_that_is_bound_before_it_is_looked_at(project: Project, cluster: Api) -> None:
    """What ``components.storage`` is written for: awaited, such a claim is never seen Pending, for 300 s."""
    meta = {"name": "volume"}
    capacity, modes = {"storage": "1Gi"}, ["ReadWriteOnce"]
    claim = {"namespace": "default", "name": "claim"}
    spec = {"capacity": capacity, "accessModes": modes, "storageClassName": "prepared", "hostPath": {"path": "/none"}}
    cluster.create("/api/v1/persistentvolumes", {"metadata": meta, "spec": {**spec, "claimRef": claim}})
    wanted = {"accessModes": modes, "resources": {"requests": capacity}, "storageClassName": "prepared"}
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    cluster.create(claims, {"metadata": {"name": "claim"}, "spec": {**wanted, "volumeName": "volume"}})
    deadline = time.monotonic() + 30
    while cluster.get(f"{claims}/claim")["status"]["phase"] != "Bound":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    project.program(CLAIM.format(annotations={}))
    with pytest.raises(subprocess.TimeoutExpired):  # when it no longer does, the annotation may go
        project.run("up", "--yes", "--skip-preview", timeout=15)
    project.run("cancel", "--yes")
    project.program(CLAIM.format(annotations={"pulumi.com/skipAwait": "true"}))
    project.up()
    project.preview("--expect-no-changes")
    project.run("destroy", "--yes", "--skip-preview")
    cluster.delete("/api/v1/persistentvolumes/volume", {})


def test_refresh_sees_drift_and_the_next_update_repairs_it(project: Project, cluster: Api) -> None:
    mutable = {"PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE": "true"}
    project.program("""
        k8s.core.v1.ConfigMap("drifting", metadata={"name": "drifting"}, data={"k": "v"})
        k8s.core.v1.ResourceQuota("still", metadata={"name": "still"}, spec={"hard": {"requests.cpu": "1000m"}})
    """)
    project.up(env=mutable)
    project.run("refresh", "--yes", "--skip-preview")
    project.preview("--expect-no-changes")
    config_map(cluster, "kubectl", "drifting", {"k": "changed", "other": "theirs"})
    project.run("refresh", "--yes", "--skip-preview")
    assert 'conflict with "kubectl": .data.k' in project.run("preview", ok=False, env=mutable)
    step = project.preview(env={**mutable, **FORCE})
    assert step["drifting"]["op"] == "update"
    assert list(step["drifting"]["detailedDiff"]) == ["data.k"]
    project.up(env={**mutable, **FORCE})
    assert cluster.get(f"{MAPS}/drifting")["data"]["k"] == "v"
    # What was deleted behind its back is made again.
    cluster.delete(f"{MAPS}/drifting", {})
    project.run("refresh", "--yes", "--skip-preview")
    assert project.preview()["drifting"]["op"] == "create"


def test_import_adopts_an_object(project: Project, cluster: Api) -> None:
    config_map(cluster, "someone", "there", {"k": "v"})
    token = "kubernetes:core/v1:ConfigMap"
    options = ("--yes", "--generate-code=false", "--protect=false")
    project.run("import", *options, token, "by-command", "default/there")
    assert project.state("by-command")["inputs"]["data"] == {"k": "v"}
    project.run("state", "delete", "--yes", project.state("by-command")["urn"])
    program = """
        k8s.core.v1.ConfigMap(
            "by-option", metadata={{"name": "there"}}, data={{"k": "{value}"}}, opts=pulumi.ResourceOptions({option}))
    """
    project.program(program.format(value="v", option='import_="default/there"'))
    project.up()
    project.program(program.format(value="v", option=""))
    project.preview("--expect-no-changes")


def test_update_that_was_cut_off_can_be_run_again(project: Project, cluster: Api) -> None:
    project.program('k8s.core.v1.ConfigMap("cut", metadata={"name": "cut-off"}, data={"k": "v"})')
    project.up()
    before = cluster.get(f"{MAPS}/cut-off")["metadata"]["uid"]
    # As if the engine had been killed between the server's answer and the checkpoint.
    project.run("state", "delete", "--yes", project.state("cut")["urn"])
    project.up()
    assert cluster.get(f"{MAPS}/cut-off")["metadata"]["uid"] == before


def test_unknown_values_stay_unknown(project: Project) -> None:
    project.program("""
        first = k8s.core.v1.ConfigMap("first", metadata={"name": "first"}, data={"k": "v"})
        second = k8s.core.v1.ConfigMap(
            "second", metadata={"name": "second"}, data={"id": first.id, "known": first.data["k"]})
        second.data["id"].apply(lambda found: print("resolved to", found))
        first.data["k"].apply(lambda value: print("known is", value))
    """)
    text = project.run("preview")
    assert "resolved to" not in text
    assert "known is v" in text
    assert "resolved to default/first" in project.up()


def test_preview_without_a_cluster_is_computed_from_the_program(project: Project) -> None:
    project.program("""
        k8s.core.v1.ResourceQuota("quota", metadata={"name": "q", "namespace": "n"}, spec={"hard": {"pods": "1"}})
    """)
    where = {"KUBECONFIG": str(project.folder / "nowhere")}
    assert project.preview(env=where)["quota"]["op"] == "create"
    assert "unreachable" in project.up(ok=False, env=where)
