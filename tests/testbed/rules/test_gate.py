"""The P3-VC and the gate: which program runs, on which data, and what waits for it."""

from __future__ import annotations

import pytest

from testbed.rules.violation import Violation

from . import worlds
from .worlds import Body

RULE = "p3vc-only"
E1 = "lab-client-e1"
OTHER = "docker.io/other/true:1"


def found(manifests: list[Body]) -> list[Violation]:
    return [v for v in worlds.violations(manifests) if v.rule == RULE]


def spec(manifests: list[Body], kind: str, name: str, client: str = "e1") -> Body:
    body = worlds.template(worlds.one(manifests, kind, name, f"lab-client-{client}"))
    return body["spec"]  # type: ignore[no-any-return]


def supernode(manifests: list[Body]) -> Body:
    return spec(manifests, "StatefulSet", "supernode")


def gate(manifests: list[Body]) -> Body:
    return supernode(manifests)["initContainers"][0]  # type: ignore[no-any-return]


def job(manifests: list[Body]) -> Body:
    return spec(manifests, "Job", "p3vc-")


def release(manifests: list[Body]) -> Body:
    return job(manifests)["containers"][0]  # type: ignore[no-any-return]


def register(manifests: list[Body]) -> Body:
    return job(manifests)["initContainers"][0]  # type: ignore[no-any-return]


def mount(pod: Body, container: Body, folder: str, name: str = "code", **source: object) -> None:
    """Mount a ConfigMap, or what is given, in one container."""
    pod["volumes"].append({"name": name, **(source or {"configMap": {"name": name}})})
    container["volumeMounts"].append({"name": name, "mountPath": folder})


def at(container: Body, folder: str) -> Body:
    (entry,) = [m for m in container["volumeMounts"] if m["mountPath"] == folder]
    return entry  # type: ignore[no-any-return]


def put(container: Body, flag: str, value: str) -> None:
    words = container["command"]
    words[words.index(flag) + 1] = value


def first_a_sidecar(manifests: list[Body]) -> None:
    pod = supernode(manifests)
    pod["initContainers"].insert(0, {**pod["containers"].pop(0), "restartPolicy": "Always"})


def another_volume(manifests: list[Body]) -> None:
    """Let the gate look at an emptyDir where the private volume was."""
    supernode(manifests)["volumes"].append({"name": "fake", "emptyDir": {}})
    at(gate(manifests), "/private")["name"] = "fake"


def nested(manifests: list[Body]) -> None:
    mount(supernode(manifests), gate(manifests), "/private/release")
    put(gate(manifests), "--release", "/private/release")


def writable_above(manifests: list[Body]) -> None:
    for container in (register(manifests), release(manifests)):
        put(container, "--data", "/raw/part")
        at(container, "/raw").pop("readOnly")


def partly(manifests: list[Body]) -> None:
    for container in (register(manifests), release(manifests)):
        put(container, "--data", "/raw/part")


def other_data(manifests: list[Body], folder: str) -> None:
    for container in (register(manifests), release(manifests)):
        at(container, "/raw").update(subPath=folder)


GATE: dict[str, tuple[worlds.Mistake, str]] = {
    "a sidecar before it": (first_a_sidecar, "before any other runs"),
    "none": (lambda m: supernode(m).pop("initContainers"), "no init container waits"),
    "as a sidecar": (lambda m: gate(m).update(restartPolicy="Always"), "is a sidecar"),
    "an emptyDir": (another_volume, "which is not the private volume"),
    "a ConfigMap in the volume": (nested, "which is not the private volume"),
    "a ConfigMap over part of it": (
        lambda m: mount(supernode(m), gate(m), "/private/manifest.json"),
        "configMap code lies over /private/manifest.json",
    ),
    "a folder of the volume": (
        lambda m: at(gate(m), "/private").update(subPath="mine"),
        "which is not the private volume",
    ),
    "a folder below the mount": (lambda m: put(gate(m), "--release", "/private/mine"), "is not the private volume"),
    "two mounts of one name": (
        lambda m: gate(m)["volumeMounts"].append({**at(gate(m), "/private"), "mountPath": "private"}),
        "which is not the private volume",
    ),
    "PATH": (lambda m: gate(m)["env"].append({"name": "PATH", "value": "/app"}), "PATH changes nothing"),
    "PYTHONPATH": (lambda m: gate(m)["env"].append({"name": "PYTHONPATH", "value": "/app"}), "PYTHONPATH changes"),
    "envFrom": (lambda m: gate(m).update(envFrom=[{"configMapRef": {"name": "x"}}]), "envFrom is set"),
    "image": (lambda m: gate(m).update(image=OTHER), f"image {OTHER} here"),
}
PROGRAM: dict[str, tuple[worlds.Mistake, str]] = {
    "code": (lambda m: mount(job(m), release(m), "/opt/workloads"), "configMap code lies over /opt/workloads"),
    "an emptyDir over code": (
        lambda m: mount(job(m), register(m), "/opt/workloads", emptyDir={}),
        "emptyDir code lies over /opt/workloads",
    ),
    "a claim over code": (
        lambda m: release(m)["volumeMounts"].append({"name": "private", "mountPath": "/opt/workloads"}),
        "persistentVolumeClaim private lies over /opt/workloads",
    ),
    "image of the release": (lambda m: release(m).update(image=OTHER), f"image {OTHER} here"),
    "image of the registration": (lambda m: register(m).update(image=OTHER), f"image {OTHER} here"),
}
PLACES: dict[str, tuple[worlds.Mistake, str]] = {
    "data in the image": (lambda m: put(release(m), "--data", "/usr/share/data"), "--data /usr/share/data is on: 0"),
    "data in an emptyDir": (lambda m: put(release(m), "--data", "/app/data"), "--data /app/data is on: 0"),
    "data in two mounts": (
        lambda m: release(m)["volumeMounts"].append({**at(release(m), "/private"), "mountPath": "raw"}),
        "--data /raw is on: 2",
    ),
    "release in an emptyDir": (lambda m: put(release(m), "--out", "/app"), "--out /app is on: 0"),
    "release into the raw volume": (lambda m: at(release(m), "/private").update(name="raw"), "on one volume"),
    "ledger in an emptyDir": (lambda m: put(release(m), "--ledger", "/app/ledger"), "--ledger /app/ledger is on: 0"),
    "ledger beside": (lambda m: at(release(m), "/ledger").update(subPath="ledger2"), "not the raw volume's own"),
    "ledger below": (lambda m: put(release(m), "--ledger", "/ledger/2"), "not the raw volume's own"),
    "ledger on the private volume": (
        lambda m: at(release(m), "/ledger").update(name="private"),
        "not the raw volume's",
    ),
    "seeds in an emptyDir": (lambda m: put(release(m), "--seeds", "/app/seeds"), "--seeds /app/seeds is on: 0"),
    "seeds in the ledger": (lambda m: at(release(m), "/seeds").update(subPath="ledger"), "not in the raw volume's own"),
    "seeds below the ledger": (lambda m: put(release(m), "--seeds", "/ledger/seeds"), "not in the raw volume's own"),
    "seeds on the private volume": (
        lambda m: at(release(m), "/seeds").update(name="private"),
        "not in the raw volume's",
    ),
    "a part of the data": (partly, "second account"),
    "a part of the volume": (lambda m: other_data(m, "data/part"), "second account"),
    "all of the volume": (lambda m: other_data(m, ""), "second account"),
    "registered beside": (lambda m: at(register(m), "/ledger").update(subPath="ledger2"), "not the raw volume's own"),
    "registered in an emptyDir": (lambda m: put(register(m), "--ledger", "/app/l"), "--ledger /app/l is on: 0"),
    "registered for other data": (lambda m: at(register(m), "/raw").update(subPath="data2"), "read 2 raw datasets"),
    "writable data": (lambda m: at(register(m), "/raw").update(readOnly=False), "it can change the raw data"),
    "writable data above the folder": (
        writable_above,
        "it can change the raw data",
    ),
}
CASES = {
    f"{of}: {name}": case
    for of, cases in (("gate", GATE), ("program", PROGRAM), ("places", PLACES))
    for name, case in cases.items()
}


@pytest.mark.parametrize(("mistake", "says"), CASES.values(), ids=CASES)
def test_it_is_refused(mistake: worlds.Mistake, says: str) -> None:
    manifests = worlds.bodies()
    mistake(manifests)
    problems = found(manifests)
    assert any(says in v.message for v in problems), [v.message for v in problems]
    assert all(v.field and v.repair for v in problems)


def test_the_image_may_be_any_if_it_is_one() -> None:
    manifests = worlds.bodies()
    for workload in (m for m in manifests if m["kind"] in ("Job", "StatefulSet")):
        pod = worlds.template(workload)["spec"]
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            container["image"] = OTHER
    assert not found(manifests)


def test_the_odd_image_is_named() -> None:
    manifests = worlds.bodies()
    gate(manifests).update(image=OTHER)
    (violation,) = found(manifests)
    assert violation.resource == f"StatefulSet {E1}/supernode"
    assert violation.field.endswith("initContainers[0].image")
    assert "ghcr.io/kubeflower/workloads" in violation.message
