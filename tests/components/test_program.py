"""The program, its order and its outputs, under Pulumi mocks."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime.mocks import MockMonitor

from components import Testbed
from components.keys import CONFIG, ENVIRONMENT
from components.outputs import recorded
from components.records import Cluster
from components.render import ROOT
from tests.components import rendering
from tests.components.rendering import config, spec

ROOT_FOLDER = rendering.ROOT
RECORD = {"claim": "x", "remaining": "0", "client_records": 449, "manifest": "sha256:1"}
GRANT = {"claim": "y", "remaining": "0.1", "noise_multiplier": 45.0}
DP: dict[str, Any] = {
    "federation__training_dp__epsilon": 0.3,
    "federation__training_dp__delta": 1e-6,
    "privacy__epsilon": 0.4,
    "privacy__delta": 1e-6,
}
ROUNDS = {"rounds": [{"round": 1, "loss": 2.1, "accuracy": 0.4}], "model": "sha256:2", "clients": ["e1", "e3", "e4"]}


class Complete(pulumi.runtime.Mocks):
    """Declares every Job complete."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        done = {"status": {"succeeded": 1}} if args.typ == "kubernetes:batch/v1:Job" else {}
        return args.name, {**args.inputs, **done}

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], None]:
        return {}, None


@dataclass
class Engine(MockMonitor):
    """Keeps what the engine is told beside the inputs."""

    after: dict[str, set[str]] = field(default_factory=dict)
    provider: dict[str, str] = field(default_factory=dict)
    parent: dict[str, str] = field(default_factory=dict)
    delete_first: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__(Complete())

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the monitor's own name
        urn = self.make_urn(request.parent, request.type, request.name)
        self.after[urn], self.provider[urn], self.parent[urn] = (
            set(request.dependencies),
            request.provider,
            request.parent,
        )
        if request.deleteBeforeReplace:
            self.delete_first.add(urn)
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]

    def one(self, kind: str, name: str) -> str:
        (urn,) = [u for u in self.after if u.endswith(f":{kind}::{name}")]
        return urn

    def before(self, urn: str) -> set[str]:
        """Everything that exists before ``urn`` is created."""
        found: set[str] = set()
        todo = [urn]
        while todo:
            for earlier in self.after[todo.pop()] - found:
                found.add(earlier)
                todo.append(earlier)
        return found


class Read(Cluster):
    """A cluster whose Jobs left records."""

    def read(self, namespace: str, job: str, container: str) -> dict[str, Any]:
        return {"release": RECORD, "grant": GRANT}.get(container, ROUNDS)


@pytest.fixture
def engine() -> Iterator[Engine]:
    monitor = Engine()
    pulumi.runtime.set_mocks(monitor.mocks, project="kubeflower", stack="lab", preview=False, monitor=monitor)
    yield monitor
    pulumi.runtime.set_all_config({})


def run(program: Callable[[], Any]) -> None:
    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]


def resolved(value: Any) -> Any:
    found: list[Any] = []
    run(lambda: pulumi.Output.from_input(value() if callable(value) else value).apply(found.append))
    return found[0]


def test_each_client_waits_for_its_own_release_and_for_no_other_client(engine: Engine) -> None:
    run(lambda: Testbed("lab", spec("lab"), root=ROOT) and None)
    clients = {client: engine.one("StatefulSet", f"lab-client-{client}") for client in ("e1", "e3", "e4")}
    for client, urn in clients.items():
        before = engine.before(urn)
        assert engine.one("Job", f"lab-client-{client}-release") in before
        assert engine.one("StatefulSet", "lab-server") in before
        assert engine.one("NetworkPolicy", f"lab-client-{client}-namespace-default") in before
        assert not any("lab-client-" in other and f"lab-client-{client}" not in other for other in before)


def test_a_release_waits_for_its_network_and_guards_but_not_for_the_server(engine: Engine) -> None:
    run(lambda: Testbed("lab", spec("lab"), root=ROOT) and None)
    before = engine.before(engine.one("Job", "lab-client-e3-release"))
    assert engine.one("Subnet", "lab-s002") in before
    assert engine.one("ResourceQuota", "lab-client-e3-namespace-quota") in before
    assert engine.one("PersistentVolumeClaim", "lab-client-e3-release-raw") in before
    assert not any(":StatefulSet::" in urn for urn in before)


def test_the_server_waits_for_its_nics_and_the_run_for_everybody(engine: Engine) -> None:
    run(lambda: Testbed("lab", spec("lab"), root=ROOT) and None)
    server = engine.before(engine.one("StatefulSet", "lab-server"))
    for group in ("s001", "s002", "s003", "s004"):
        assert engine.one("NetworkAttachmentDefinition", f"lab-{group}") in server
        assert engine.one("Subnet", f"lab-{group}") in server
    before = engine.before(engine.one("Job", "lab-run"))
    assert {urn for urn in engine.after if ":StatefulSet::" in urn or ("-release" in urn and ":Job::" in urn)} <= before


def test_the_run_waits_for_every_grant_and_no_client_does(engine: Engine) -> None:
    run(lambda: Testbed("lab", spec("lab", **DP), root=ROOT) and None)
    grants = {client: engine.one("Job", f"lab-client-{client}-grant") for client in ("e1", "e3", "e4")}
    assert set(grants.values()) <= engine.before(engine.one("Job", "lab-run"))
    for client, grant in grants.items():
        before = engine.before(grant)
        assert engine.one("Job", f"lab-client-{client}-release") in before
        assert engine.one("PersistentVolumeClaim", f"lab-client-{client}-release-private") in before
        assert not any("-grant" in other or ":StatefulSet::" in other for other in before)
        assert grant not in engine.before(engine.one("StatefulSet", f"lab-client-{client}"))


def test_going_back_after_a_refused_claim_does_not_meet_the_old_job(engine: Engine) -> None:
    """One that is only to be deleted, once its replacement is there, has the name of the one that is declared again."""
    run(lambda: Testbed("lab", spec("lab", **DP), root=ROOT) and None)
    jobs = {urn for urn in engine.after if ":Job::" in urn}
    assert jobs - engine.delete_first == {engine.one("Job", "lab-run")}


def test_everything_is_a_child_of_the_testbed_and_uses_its_provider(engine: Engine) -> None:
    import pulumi_kubernetes

    def program() -> None:
        own = pulumi_kubernetes.Provider("own", kubeconfig="{}")
        Testbed("lab", spec("lab"), root=ROOT, opts=pulumi.ResourceOptions(provider=own))

    run(program)
    objects = {urn for urn in engine.after if "$kubernetes:" in urn}
    assert len(objects) == 75
    assert all("::own::" in engine.provider[urn] for urn in objects)
    for urn in objects:
        top = urn
        while ":Testbed::" not in top:
            top = engine.parent[top]


def test_outputs_tell_the_team_what_the_records_say(engine: Engine) -> None:
    outputs = resolved(lambda: Testbed("lab", spec("lab"), root=ROOT, cluster=Read()).outputs)
    client = outputs["clients"]["e1"]
    assert (client["budgetLeft"], client["records"], client["manifest"], client["note"]) == ("0", 449, "sha256:1", None)
    assert client["noiseMultiplier"] is None
    assert outputs["federation"] == {**ROUNDS, "note": None}
    assert outputs["caCertificate"].startswith("-----BEGIN CERTIFICATE-----")
    text = json.dumps(outputs)
    assert "PRIVATE KEY" not in text
    assert set(outputs) == {
        "clients",
        "server",
        "flowerConfig",
        "caCertificate",
        "isolation",
        "nodes",
        "privacy",
        "federation",
    }


def test_what_is_left_counts_release_and_grant_whichever_came_last(engine: Engine) -> None:
    later = {**RECORD, "remaining": "0.4"}
    assert recorded(later, GRANT)["budgetLeft"] == "0.1"
    assert recorded({**RECORD, "remaining": "0"}, GRANT)["budgetLeft"] == "0"
    missing = recorded(later, None)
    assert (missing["budgetLeft"], missing["note"]) == (None, "not complete yet")
    gone = recorded(later, {"note": "its record is gone"})
    assert (gone["budgetLeft"], gone["records"], gone["note"]) == (None, 449, "its record is gone")
    outputs = resolved(lambda: Testbed("lab", spec("lab", **DP), root=ROOT, cluster=Read()).outputs)
    client = outputs["clients"]["e1"]
    assert (client["epsilon"], client["trainingEpsilon"], client["budgetLeft"]) == ("0.4", "0.3", "0")
    assert (client["noiseMultiplier"], client["note"]) == (45.0, None)


def test_no_output_is_secret(engine: Engine) -> None:
    found: list[bool] = []

    async def is_secret(output: pulumi.Output[Any]) -> None:
        found.append(await output.is_secret())

    run(lambda: is_secret(pulumi.Output.from_input(Testbed("lab", spec("lab"), root=ROOT, cluster=Read()).outputs)))
    assert found == [False]


def program(**changes: Any) -> None:
    """Run ``__main__.py`` as the engine does, with configuration as the engine passes it."""
    stored = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config("lab", **changes).items()}
    pulumi.runtime.set_all_config(stored)
    runpy.run_path(str(ROOT_FOLDER / "__main__.py"), run_name="__main__")


def test_the_program_declares_the_stack(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "root").write_text(ROOT.hex())
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "root"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    run(program)
    assert engine.one("Job", "lab-run")


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"servr": {}}, "kubeflower:servr: unknown key"), ({"privacy__epsilon": 0}, "kubeflower:privacy.epsilon: 0")],
)
def test_the_program_refuses_a_bad_stack_before_it_declares_anything(
    engine: Engine, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(pulumi.RunError, match=re.escape(says)):
        run(lambda: program(**changes))
    assert not any("kubernetes:" in urn for urn in engine.after)


@pytest.mark.parametrize(
    ("root", "says"),
    [
        (None, f"{CONFIG}: missing.*pulumi config set --secret {CONFIG}"),
        ("abc", f"{CONFIG}: is not hexadecimal"),
        ("00", f"{CONFIG}: has 1 bytes, at least 32"),
    ],
)
def test_without_a_usable_root_an_update_says_how_to_set_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, root: str | None, says: str
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(pulumi.RunError, match=says):
        run(lambda: program(**({"keyRoot": root} if root else {})))


def test_a_root_file_that_is_not_there_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "/nowhere/root")
    with pytest.raises(pulumi.RunError, match=f"{ENVIRONMENT}=/nowhere/root: cannot be read"):
        run(program)


def test_a_preview_without_a_root_warns_and_shows_throw_away_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    warned: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warned.append)
    monitor = Engine()
    pulumi.runtime.set_mocks(monitor.mocks, project="kubeflower", stack="lab", preview=True, monitor=monitor)
    run(program)
    pulumi.runtime.set_all_config({})
    assert CONFIG in warned[0]
    assert monitor.one("Job", "lab-run")


def test_the_documented_example_runs(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (ROOT_FOLDER / "docs" / "components.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    sections = {key.removeprefix("kubeflower:"): value for key, value in config("lab").items()}
    (tmp_path / "hospital.yaml").write_text(yaml.safe_dump(sections))
    (tmp_path / "kubeconfig").write_text("{}")
    (tmp_path / "root").write_text(ROOT.hex())
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    run(lambda: exec(compile(example, "components.md", "exec"), {}))  # noqa: S102 - our own text
    assert engine.one("Job", "hospital-run")
    assert engine.provider[engine.one("Job", "hospital-run")].split("::")[-2] == "hospital"
