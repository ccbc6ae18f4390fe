"""The policies as the engine calls them: through the SDK's own server, with the engine's unknown values."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from pulumi.runtime.proto import analyzer_pb2 as proto
from pulumi_policy import EnforcementLevel
from pulumi_policy import policy as sdk
from pulumi_policy.proxy import UNKNOWN_OBJECT_VALUE, UNKNOWN_STRING_VALUE

from policies import cross_client, fail_closed, hardened_pods, p3vc_only, privacy_budget
from policies.resources import plain
from policies.server import StackServer
from testbed.manifests import Unknown
from testbed.unknown import assigned
from tests.testbed.rules import worlds

POLICIES = [rule.POLICY for rule in (privacy_budget, cross_client, p3vc_only, hardened_pods, fail_closed)]
Body = dict[str, Any]


def token(body: Body) -> str:
    version = body["apiVersion"] if "/" in body["apiVersion"] else f"core/{body['apiVersion']}"
    return f"kubernetes:{version}:{body['kind']}"


def resource(number: int, body: Body) -> proto.AnalyzerResource:
    found = proto.AnalyzerResource(
        type=token(body), urn=f"urn:pulumi:s::p::{token(body)}::r{number}", name=f"r{number}"
    )
    properties = {**body, "kind": body["kind"].removesuffix("Patch")}
    json_format.ParseDict(properties, found.properties)
    found.provider.type = "pulumi:providers:kubernetes"
    return found


def analyze(
    resources: list[proto.AnalyzerResource], config: Body | None = None, kind: Any = StackServer
) -> list[proto.AnalyzeDiagnostic]:
    server: Any = kind("kubeflower", "1", POLICIES, EnforcementLevel.MANDATORY)
    request = proto.ConfigureAnalyzerRequest()
    for name, settings in (config or {}).items():
        json_format.ParseDict(settings, request.policyConfig[name].properties)
        request.policyConfig[name].enforcementLevel = proto.MANDATORY
    server.Configure(request, None)
    return list(server.AnalyzeStack(proto.AnalyzeStackRequest(resources=resources), None).diagnostics)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every path below ``value``, inner ones too."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


def replaced(body: Body, path: tuple[str | int, ...], value: Any) -> Body:
    found: Any = copy.deepcopy(body)
    target = found
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    return found  # type: ignore[no-any-return]


def test_the_clean_testbed_gives_no_diagnostic() -> None:
    assert analyze([resource(i, b) for i, b in enumerate(worlds.bodies())]) == []


def test_the_pack_says_what_the_sdk_alone_would_say() -> None:
    bodies = worlds.bodies(privacy__epsilon=0.8)
    worlds.template(worlds.one(bodies, "StatefulSet", "supernode", "lab-client-e1"))["spec"]["hostNetwork"] = True
    resources = [resource(i, b) for i, b in enumerate(bodies)]
    resources[3].properties["spec"] = UNKNOWN_OBJECT_VALUE
    found = analyze(resources)
    assert {d.policyName for d in found} >= {"privacy-budget", "hardened-pods", "fail-closed"}
    assert found == analyze(resources, kind=sdk._PolicyAnalyzerServicer)


def test_each_resource_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And by functions of the SDK that it still calls under these names."""
    calls: Counter[str] = Counter()

    def counted(name: str) -> None:
        function = getattr(sdk, name)

        def call(argument: Any) -> Any:
            calls[name] += 1
            return function(argument)

        monkeypatch.setattr(sdk, name, call)

    counted("deserialize_properties")
    counted("unknown_checking_proxy")
    bodies = worlds.bodies()
    assert analyze([resource(i, b) for i, b in enumerate(bodies)]) == []
    # Two a resource: its own properties and its provider's.
    assert calls["unknown_checking_proxy"] == 2 * len(bodies)
    assert calls["deserialize_properties"] == 2 * len(bodies)


def test_every_policy_is_mandatory_and_described() -> None:
    for policy in POLICIES:
        assert policy.enforcement_level == EnforcementLevel.MANDATORY
        assert policy.description.endswith(".")


def test_an_unknown_value_at_any_path_of_any_resource_is_refused() -> None:
    """Every path of one resource of each kind and role, and the diagnostic says where."""
    bodies = worlds.bodies()
    chosen = {(b["kind"], b["metadata"]["name"].rstrip("0123456789-")): i for i, b in enumerate(bodies)}
    clean = [resource(i, b) for i, b in enumerate(bodies)]
    seen = 0
    for index in chosen.values():
        body = bodies[index]
        every = [p for p in paths(body) if p not in (("apiVersion",), ("kind",))]
        # All paths at once would hide each other: a spread of them, through the whole pack.
        for path in every[:: max(len(every) // 4, 1)]:
            sentinel = UNKNOWN_OBJECT_VALUE if len(path) < 3 else UNKNOWN_STRING_VALUE
            changed = [*clean[:index], resource(index, replaced(body, path, sentinel)), *clean[index + 1 :]]
            found = analyze(changed)
            assert found, (body["kind"], path)
            assert all(d.enforcementLevel == proto.MANDATORY for d in found)
            seen += 1
    assert seen > 60


def test_every_path_is_reported_by_the_fail_closed_rule() -> None:
    """The same for every single path, by the rule that reports unknown values."""
    from testbed.manifests import Object
    from testbed.rules.context import Context
    from testbed.rules.fail_closed import _unknown

    count = 0
    for body in worlds.bodies():
        for path in paths(body):
            changed = replaced(body, path, Unknown())
            obj = Object(changed, "x")
            if assigned(obj, path):
                continue
            found = list(_unknown(Context([obj])))
            assert len(found) == 1, (body["kind"], path)
            count += 1
    assert count > 3000


@pytest.mark.parametrize("path", [("status", "x"), ("metadata", "uid"), ("metadata", "resourceVersion")])
def test_what_the_server_assigns_may_be_unknown(path: tuple[str, str]) -> None:
    bodies = worlds.bodies()
    changed = [
        resource(i, {**b, path[0]: {**b.get(path[0], {}), path[1]: UNKNOWN_STRING_VALUE}}) for i, b in enumerate(bodies)
    ]
    assert analyze(changed) == []


def test_an_unknown_inside_a_longer_text_is_unknown() -> None:
    assert plain(f"10.0.0.0/{UNKNOWN_STRING_VALUE}") == Unknown()


def test_a_raised_budget_needs_the_policy_configuration() -> None:
    resources = [resource(i, b) for i, b in enumerate(worlds.bodies(privacy__budget=1.4, privacy__epsilon=1.4))]
    assert {d.policyName for d in analyze(resources)} == {"privacy-budget"}
    assert analyze(resources, {"privacy-budget": {"budget": "1.4"}}) == []


def test_a_bad_policy_configuration_refuses() -> None:
    resources = [resource(i, b) for i, b in enumerate(worlds.bodies())]
    found = analyze(resources, {"no-cross-client-route": {"isolation": "none"}})
    assert any("isolation" in d.message for d in found)


def test_what_a_helm_release_hides_is_refused() -> None:
    hidden = resource(0, {"apiVersion": "helm.sh/v3", "kind": "Release", "metadata": {}, "namespace": "lab-client-e1"})
    found = analyze([*(resource(i, b) for i, b in enumerate(worlds.bodies(), 1)), hidden])
    assert {d.policyName for d in found} == {"fail-closed"}


def test_a_program_of_another_provider_that_names_a_client_network_is_refused() -> None:
    other = proto.AnalyzerResource(
        type="command:local:Command", urn="urn:pulumi:s::p::command:local:Command::c", name="c"
    )
    json_format.ParseDict({"create": "kubectl annotate subnet lab-net-s001 x=y"}, other.properties)
    other.provider.type = "pulumi:providers:command"
    found = analyze([*(resource(i, b) for i, b in enumerate(worlds.bodies())), other])
    assert {d.policyName for d in found} == {"fail-closed"}
    assert "lab-net-s001" in found[0].message


def test_components_are_skipped() -> None:
    component = proto.AnalyzerResource(type="kubeflower:index:Testbed", urn="urn:pulumi:s::p::k::t", name="t")
    json_format.ParseDict({"network": "lab-net-s001"}, component.properties)
    assert analyze([*(resource(i, b) for i, b in enumerate(worlds.bodies())), component]) == []


def test_violations_keep_to_the_resource() -> None:
    bodies = worlds.bodies()
    number = itertools.count()
    pod = worlds.template(worlds.one(bodies, "StatefulSet", "supernode", "lab-client-e1"))
    pod["spec"]["hostNetwork"] = True
    found = analyze([resource(next(number), b) for b in bodies])
    assert any(
        d.urn.endswith("StatefulSet::r" + d.urn.rpartition("::r")[2]) for d in found if d.policyName == "hardened-pods"
    )
