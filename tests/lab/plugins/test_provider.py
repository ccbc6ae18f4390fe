"""The Kubernetes provider under the real engine, against a real API server and its controllers."""

from __future__ import annotations

import base64
import re
import threading
import time
from typing import Any

import pytest

from lab.plugins.kubernetes.cluster import Cluster
from lab.plugins.kubernetes.tokens import Kind
from tests.lab.plugins.conftest import Project

pytestmark = pytest.mark.engine

CONFIG_MAP = Kind("v1", "ConfigMap")
NAMESPACE = Kind("v1", "Namespace")
POD = Kind("v1", "Pod")
MUTABLE = {"PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE": "true"}
FORCE = {"PULUMI_K8S_ENABLE_PATCH_FORCE": "true"}
APPLY = "application/apply-patch+yaml"


def apply_as(cluster: Cluster, manager: str, path: str, body: dict[str, Any], *, force: bool = True) -> None:
    """Applies an object as somebody other than Pulumi."""
    query = {"fieldManager": manager, "force": str(force).lower()}
    cluster.request("PATCH", path, query=query, body=body, content_type=APPLY)


def config_map(cluster: Cluster, manager: str, name: str, data: dict[str, str]) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    apply_as(cluster, manager, f"/api/v1/namespaces/default/configmaps/{name}", body)


def live(cluster: Cluster, name: str, namespace: str = "default") -> dict[str, Any]:
    found = cluster.get(CONFIG_MAP, namespace, name)
    assert found is not None
    return found


def test_life_of_a_stack(project: Project, cluster: Cluster) -> None:
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
            "port", metadata={{"namespace": space.metadata.name}},
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
    assert "hunter2" not in text
    assert "data : [secret]" in text
    first = project.outputs()
    assert re.fullmatch(r"space-[0-9a-f]{8}", first["space"])
    assert 30000 <= first["port"] <= 32767
    assert base64.b64decode(first["data"]["password"]) == b"hunter2"
    assert "hunter2" not in (project.folder.parent / "backend/.pulumi/stacks/probe/test.json").read_text()
    managers = {entry["manager"] for entry in live(cluster, "named", first["space"])["metadata"]["managedFields"]}
    assert len(managers) == 1
    assert re.fullmatch(r"pulumi-kubernetes-[0-9a-f]{8}", managers.pop())

    assert project.preview("--expect-no-changes") == {}

    project.program(program.format(label="2", data="b"))
    steps = project.preview("--diff")
    assert steps["space"]["op"] == "update"
    assert list(steps["space"]["detailedDiff"]) == ["metadata.labels.level"]
    assert steps["named"]["op"] in ("replace", "create-replacement", "delete-replaced")
    project.up()
    second = project.outputs()
    assert second["uid"] == first["uid"]
    assert second["auto"] != first["auto"]
    assert live(cluster, "named", first["space"])["data"] == {"k": "b"}
    assert cluster.get(CONFIG_MAP, first["space"], first["auto"]) is None

    project.run("destroy", "--yes", "--skip-preview")
    assert cluster.get(NAMESPACE, None, first["space"]) is None


def test_patch_sets_its_fields_and_gives_them_up(project: Project, cluster: Cluster) -> None:
    config_map(cluster, "owner", "patched", {"mine": "1"})
    program = 'k8s.core.v1.ConfigMapPatch("patch", metadata={{"name": "patched"}}, data={{"{key}": "{value}"}})'
    project.program(program.format(key="ours", value="2"))
    assert project.preview()["patch"]["op"] == "create"
    project.up()
    assert live(cluster, "patched")["data"] == {"mine": "1", "ours": "2"}
    project.program(program.format(key="ours", value="3"))
    project.up()
    assert live(cluster, "patched")["data"] == {"mine": "1", "ours": "3"}
    project.run("destroy", "--yes", "--skip-preview")
    assert live(cluster, "patched")["data"] == {"mine": "1"}

    # A field that another manager owns is not taken without being told to.
    project.program(program.format(key="mine", value="4"))
    text = project.run("preview", ok=False)
    assert '.data.mine is managed by "owner"' in text.replace("'", '"')
    assert "pulumi.com/patchForce" in text
    project.program("""
        k8s.core.v1.ConfigMapPatch(
            "patch", metadata={"name": "patched", "annotations": {"pulumi.com/patchForce": "true"}}, data={"mine": "4"})
    """)
    project.up()
    assert live(cluster, "patched")["data"] == {"mine": "4"}


def test_custom_resource_made_with_its_definition(project: Project, cluster: Cluster) -> None:
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
    assert cluster.get(Kind("probe.example.com/v1", "Link"), "default", "link")["spec"] == {"to": "there", "n": 3}  # type: ignore[index]
    project.preview("--expect-no-changes")

    project.program(program.format(spec='{"to": "x", "n": 3}'))
    assert "spec.to in body should be at least 3 chars long" in project.run("preview", ok=False)
    project.program(program.format(spec='{"to": "there", "wrong": 1}'))
    assert "wrong" in project.run("preview", ok=False)


def test_wrong_field_is_named_before_anything_is_created(project: Project, cluster: Cluster) -> None:
    project.program("""
        k8s.core.v1.Pod("pod", metadata={"name": "pod", "labels": {"n": 1}}, spec={"containers": []})
    """)
    text = project.run("preview", ok=False)
    assert "property metadata.labels.n" in text
    assert "labels and annotations are text, and 1 is not: quote it" in text
    project.program("""
        fine = k8s.core.v1.ConfigMap("fine", metadata={"name": "not-made"}, data={"k": "v"})
        k8s.core.v1.Service(
            "service", metadata={"name": "service"}, spec={"ports": [{"port": 99999}]},
            opts=pulumi.ResourceOptions(depends_on=[fine]))
    """)
    text = project.run("up", "--yes", ok=False)
    assert 'Service "service" is invalid' in text
    assert "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535" in text
    assert cluster.get(CONFIG_MAP, "default", "not-made") is None


def fail_pods(cluster: Cluster, selector: str, message: str) -> threading.Thread:
    """Lets every pod with the labels fail, as a node would report it."""

    def work() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for pod in cluster.list(POD, "default", selector):
                status = {
                    "phase": "Failed",
                    "containerStatuses": [
                        {
                            "name": "work", "image": "i", "imageID": "i", "ready": False, "restartCount": 0,
                            "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": message}},
                        }
                    ],
                }  # fmt: skip
                path = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}/status"
                cluster.request("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")
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


def test_failed_job_says_which_pod_and_why(project: Project, cluster: Cluster) -> None:
    project.program(JOB.format(image="one", annotations='{"pulumi.com/replaceUnready": "true"}'))
    thread = fail_pods(cluster, "run=release", "ledger: budget 0.7 is spent, 0.1 was asked for")
    text = project.up(ok=False)
    thread.join()
    assert "job default/release failed (BackoffLimitExceeded" in text
    assert re.search(r"pod default/release-\w+: container work ended with exit code 3 \(Error\): ledger: budget", text)
    # The job is in the state, so the next update knows it: a changed template replaces it, and so does its failure.
    assert project.preview()["job"]["op"] in ("replace", "create-replacement", "delete-replaced")
    project.program(JOB.format(image="two", annotations='{"pulumi.com/skipAwait": "true"}'))
    steps = project.preview()
    assert steps["job"]["op"] in ("replace", "create-replacement", "delete-replaced")
    project.up()
    project.preview("--expect-no-changes")


def test_wait_says_what_for_and_ends_in_time(project: Project) -> None:
    project.program("""
        k8s.core.v1.Pod(
            "pod", metadata={"name": "never"}, spec={"containers": [{"name": "c", "image": "i"}]},
            opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="2s")))
    """)
    text = project.up(ok=False)
    assert "[1/2] Waiting for pod default/never: not scheduled: no nodes available" in text
    assert "timed out after 2 s" in text
    project.run("destroy", "--yes", "--skip-preview")


def test_refresh_sees_drift_and_the_next_update_repairs_it(project: Project, cluster: Cluster) -> None:
    project.program("""
        k8s.core.v1.ConfigMap("drifting", metadata={"name": "drifting"}, data={"k": "v"})
        k8s.core.v1.ResourceQuota("still", metadata={"name": "still"}, spec={"hard": {"requests.cpu": "1000m"}})
    """)
    project.up(env=MUTABLE)
    project.run("refresh", "--yes", "--skip-preview")
    project.preview("--expect-no-changes")
    config_map(cluster, "kubectl", "drifting", {"k": "changed", "other": "theirs"})
    project.run("refresh", "--yes", "--skip-preview")
    step = project.preview(env={**MUTABLE, **FORCE})
    assert step["drifting"]["op"] == "update"
    assert list(step["drifting"]["detailedDiff"]) == ["data.k"]
    text = project.up(ok=False, env=MUTABLE)
    assert "kubectl" in text
    project.up(env={**MUTABLE, **FORCE})
    assert live(cluster, "drifting")["data"] == {"k": "v", "other": "theirs"}
    # What was deleted behind its back is made again.
    cluster.request("DELETE", "/api/v1/namespaces/default/configmaps/drifting")
    project.run("refresh", "--yes", "--skip-preview")
    assert project.preview()["drifting"]["op"] == "create"


def test_import_adopts_an_object(project: Project, cluster: Cluster) -> None:
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
    # An object that exists and was not imported is not taken over in silence.
    project.run("state", "delete", "--yes", project.state("by-option")["urn"])
    assert "it exists already" in project.run("preview", ok=False)


def test_update_that_was_cut_off_can_be_run_again(project: Project, cluster: Cluster) -> None:
    project.program('k8s.core.v1.ConfigMap("cut", metadata={"name": "cut-off"}, data={"k": "v"})')
    project.up()
    before = live(cluster, "cut-off")["metadata"]["uid"]
    # As if the engine had been killed between the server's answer and the checkpoint.
    project.run("state", "delete", "--yes", project.state("cut")["urn"])
    project.up()
    assert live(cluster, "cut-off")["metadata"]["uid"] == before


def test_unknown_values_stay_unknown(project: Project) -> None:
    project.program("""
        first = k8s.core.v1.ConfigMap("first", metadata={"name": "first"}, data={"k": "v"})
        second = k8s.core.v1.ConfigMap(
            "second", metadata={"name": "second"}, data={"uid": first.metadata.uid, "known": first.data["k"]})
        second.data["uid"].apply(lambda uid: print("resolved to", len(uid)))
        second.data["known"].apply(lambda value: print("known is", value))
    """)
    text = project.run("preview")
    assert "resolved to" not in text
    text = project.up()
    assert "resolved to 36" in text


def test_unreachable_cluster_previews_from_the_program_and_refuses_updates(project: Project) -> None:
    (project.folder / "nowhere").write_text("""
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u, namespace: far}}]
users: [{name: u, user: {token: t}}]
""")
    project.program("""
        quota = k8s.core.v1.ResourceQuota("q", metadata={"name": "q"}, spec={"hard": {"pods": "1"}})
        node = k8s.core.v1.PersistentVolume("v", metadata={"name": "v"}, spec={})
        pulumi.export("quota", quota.metadata.namespace)
        pulumi.export("node", node.metadata.apply(lambda metadata: metadata.get("namespace") or "none"))
    """)
    where = {"KUBECONFIG": str(project.folder / "nowhere")}
    text = project.run("preview", env=where)
    assert text.count("the preview is computed from the program alone: cannot reach https://127.0.0.1:1") >= 1
    assert "Connection refused" in text
    assert '"far"' in text
    assert '"none"' in text
    text = project.up(ok=False, env=where)
    assert "cannot reach https://127.0.0.1:1" in text


def test_what_it_does_not_do_is_named(project: Project) -> None:
    project.program("""
        from pulumi_kubernetes.helm.v3 import Release
        Release("chart", chart="x")
    """)
    text = project.run("preview", ok=False)
    assert "Helm" in text
    assert "official pulumi-resource-kubernetes has it" in text
