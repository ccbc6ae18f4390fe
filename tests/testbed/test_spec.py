"""Every bad input gives one clear message that names the key, the value and what is allowed."""

from __future__ import annotations

import copy
import types
import typing
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import SpecError
from testbed.spec import parse

NODES = [
    {"name": "C1", "role": "control-plane", "domain": "lab", "cpu": 4, "memory": 16, "disk": 80},
    {"name": "C2", "role": "cloud", "domain": "lab", "cpu": 8, "memory": 16, "disk": 80},
    {"name": "E1", "role": "edge", "domain": "mshed", "cpu": 15, "memory": 30, "disk": 100, "gpu": "P2000"},
]
BASE: dict[str, Any] = {"nodes": NODES, "server": {"node": "C2"}, "clients": {"num_clients": 2}}

ARABIC = "\u0661"  # the digit one, which Python's int() reads


def build(name: str = "lab", **changes: Any) -> Any:
    values = copy.deepcopy(BASE)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = values
        for part in parents:
            target = target.setdefault(part, {})
        target[last] = value
    return parse(name, values)


def refused(name: str = "lab", **changes: Any) -> str:
    with pytest.raises(SpecError) as caught:
        build(name, **changes)
    return str(caught.value)


def listed(*clients: dict[str, Any]) -> dict[str, Any]:
    return {"clients": {"list": list(clients)}}


def noisy(**changes: Any) -> dict[str, Any]:
    return {"federation__training_dp__epsilon": 0.3, "federation__training_dp__delta": 1e-6, **changes}


E1, E2 = {"id": "a", "slot": 1, "node": "E1"}, {"id": "b", "slot": 2, "node": "E1"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epsilon": 1}, ["kubeflower:epsilon", "unknown key", "privacy"]),
        ({"server__prt": 1}, ["kubeflower:server.prt", "unknown key", "image_pull_policy, node, node_port, port"]),
        (listed({**E1, "nod": "E1"}), ["kubeflower:clients.list[0].nod", "unknown key", "dataset, id, key, node"]),
        (listed(E1, {**E2, "id": "a"}), ["kubeflower:clients.list.id", "'a' 2 times", "used once"]),
        (listed(E1, {**E2, "slot": 1}), ["kubeflower:clients.list.slot", "'1' 2 times", "used once"]),
        (listed({**E1, "id": "server"}), ["kubeflower:clients.list.id", "'server'", "another id"]),
        (listed({**E1, "id": "A_1"}), ["kubeflower:clients.list[0].id", "'A_1'", "lower-case letters"]),
        ({"capacity": 1}, ["kubeflower:clients", "'c2' on slot 2", "beyond capacity 1"]),
        (listed({**E1, "node": "E9"}), ["kubeflower:clients.list[0].node", "'E9'", "C1, C2, E1"]),
        ({"server__node": "Z"}, ["kubeflower:server.node", "'Z'", "no such node; nodes are C1, C2, E1"]),
        ({"clients__placement": {"E9": 2}}, ["kubeflower:clients.placement.E9", "'E9'", "C1, C2, E1"]),
        ({"clients__placement": {"E1": 0}}, ["kubeflower:clients.placement.E1", "0", "greater than or equal to 1"]),
        ({"clients__placement": {"E1": 3}}, ["kubeflower:clients.num_clients", "2", "places 3"]),
        ({"clients__placement": "random"}, ["kubeflower:clients.placement", "'random'", "'spread' or 'weighted'"]),
        ({"network__clients": "10.60.0.0/16"}, ["kubeflower:network.server", "overlaps network.clients 10.60.0.0/16"]),
        ({"network__clients": "10.16.0.0/16"}, ["kubeflower:network.clients", "overlaps network.reserved[0]"]),
        ({"network__server": "100.64.1.0/24"}, ["kubeflower:network.server", "overlaps network.join 100.64.0.0/16"]),
        ({"network__clients": "10.64.0.0/27"}, ["kubeflower:network.clients", "2 subnets of /28, 12 are needed"]),
        ({"network__clients": "10.64.0.1/16"}, ["kubeflower:network.clients", "10.64.0.1/16", "host bits zero"]),
        ({"network__server": "10.60.0.0/30"}, ["kubeflower:network.server", "10.60.0.0/30", "/29 or larger"]),
        ({"isolation": "node"}, ["kubeflower:network.prefix", "/28 holds 16", "needs 28", "use /27"]),
        ({"isolation": "none"}, ["kubeflower:isolation", "'none'", "'client', 'node' or 'domain'"]),
        ({"clients__resources": {"gpu": 1}}, ["kubeflower:clients.resources.gpu", "1 GPUs", "node C2 has 0"]),
        ({"clients__resources": {"memory": 99999}}, ["kubeflower:clients.resources.memory", "node C2 has 16384"]),
        ({"server__resources": {"cpu": 9000}}, ["kubeflower:server.resources.cpu", "millicores", "node C2 has 8000"]),
        ({"privacy__epsilon": 0}, ["kubeflower:privacy.epsilon", "0", "greater than 0"]),
        ({"privacy__epsilon": -0.5}, ["kubeflower:privacy.epsilon", "-0.5", "greater than 0"]),
        ({"privacy__epsilon": "much"}, ["kubeflower:privacy.epsilon", "'much'", "use a number"]),
        ({"privacy__epsilon": True}, ["kubeflower:privacy.epsilon", "True", "use a number"]),
        ({"privacy__epsilon": float("nan")}, ["kubeflower:privacy.epsilon", "nan", "finite"]),
        ({"privacy__epsilon": float("inf")}, ["kubeflower:privacy.epsilon", "inf", "finite"]),
        ({"privacy__composition": "zcdp"}, ["kubeflower:privacy.delta", "missing", "1.0e-5"]),
        ({"privacy__labels": "private"}, ["kubeflower:privacy.label_epsilon", "missing"]),
        ({"privacy__delta": 0.6}, ["kubeflower:privacy.delta", "0.6", "from 1E-30 to 0.5"]),
        (noisy(), ["kubeflower:privacy.delta", "missing", "delta 0.000001", "composition basic"]),
        (noisy(privacy__delta=1e-7), ["kubeflower:privacy.delta", "1E-7", "delta 0.000001"]),
        (
            noisy(privacy__delta=1e-6, federation__strategy="fedadam"),
            ["kubeflower:federation.strategy", "'fedadam'", "fedavg or fedprox"],
        ),
        ({"federation__training_dp": {"delta": 1e-6}}, ["kubeflower:federation.training_dp.epsilon", "missing"]),
        ({"federation__training_dp": {"epsilon": 1}}, ["kubeflower:federation.training_dp.delta", "missing"]),
        (
            noisy(federation__training_dp__delta=0),
            ["kubeflower:federation.training_dp.delta", "0", "from 1E-30 to 0.5"],
        ),
        (
            noisy(federation__training_dp__clipping_norm=0),
            ["federation.training_dp.clipping_norm", "greater than or equal to 0.000001"],
        ),
        (noisy(federation__training_dp__number=0), ["federation.training_dp.number", "greater than or equal to 1"]),
        (
            noisy(federation__training_dp__z=1),
            ["training_dp.z", "unknown key", "clipping_norm, delta, epsilon, number"],
        ),
        ({"nodes": []}, ["kubeflower:nodes", "at least 1"]),
        ({"server__resources": {"cpu": True}}, ["kubeflower:server.resources.cpu", "True", "whole number"]),
        ({"server__port": "8080"}, ["kubeflower:server.port", "'8080'", "whole number, without quotes"]),
        ({"server__port": 8080.5}, ["kubeflower:server.port", "8080.5", "whole number"]),
        ({"server__port": ARABIC}, ["kubeflower:server.port", "whole number"]),
        ({"privacy__epsilon": ARABIC}, ["kubeflower:privacy.epsilon", "use a number"]),
        ({"privacy__epsilon": "0_7"}, ["kubeflower:privacy.epsilon", "'0_7'", "use a number"]),
        ({"network__server": f"{ARABIC}0.60.0.0/24"}, ["kubeflower:network.server", "such as 10.64.0.0/16"]),
        ({"network__server": 173801472}, ["kubeflower:network.server", "173801472", "such as 10.64.0.0/16"]),
        ({"network__server": "10.60.0.0/255.255.255.0"}, ["kubeflower:network.server", "such as 10.64.0.0/16"]),
        ({"dataset__download": 0}, ["kubeflower:dataset.download", "0", "true or false"]),
        ({"dataset__download": True}, ["kubeflower:dataset.download", "True", "use false"]),
        ({"federation__learning_rate": True}, ["kubeflower:federation.learning_rate", "True", "use a number"]),
        ({"dataset__name": 5}, ["kubeflower:dataset.name", "5", "quote"]),
        ({"privacy": None}, ["kubeflower:privacy", "nothing", "give keys and values"]),
        ({"nodes": [{**NODES[0], "cpu": 10**9}]}, ["kubeflower:nodes[0].cpu", "1000000000", "equal to 16384"]),
        ({"nodes": [{**NODES[0], "disk": 10**12}]}, ["kubeflower:nodes[0].disk", "equal to 1048576"]),
        ({"storage__raw": 10**7}, ["kubeflower:storage.raw", "10000000", "equal to 1048576"]),
        ({"storage__raw": 79}, ["kubeflower:storage", "82 GiB", "node C2 has 80 for"]),
        ({"clients__num_clients": 10**6}, ["kubeflower:clients.num_clients", "1000000", "equal to 250"]),
        ({"network__join": "100.64.0.0/30"}, ["kubeflower:network.join", "100.64.0.0/30", "use /29 or larger"]),
        *(
            ({f"network__{name}": network}, [f"kubeflower:network.{name}", network, use])
            for name in ("server", "clients", "join")
            for network, use in (
                ("127.0.0.0/8", "loopback"),
                ("239.1.0.0/16", "multicast"),
                ("169.254.0.0/16", "link-local"),
                ("255.255.255.0/24", "reserved"),
                ("0.0.0.0/0", "of this host alone"),
            )
        ),
        ({"network__reserved": ["127.0.0.0/8"]}, ["kubeflower:network.reserved[0]", "127.0.0.0/8", "loopback"]),
        *(
            ({"privacy__disjoint": text}, ["kubeflower:privacy.disjoint", "say why in words"])
            for text in (
                "",
                " " * 30,
                "\u2003" * 30,
                "\u3164" * 30,
                "\u2800" * 30,
                "." * 30,
                "a" * 30,
                "one\nline more here",
            )
        ),
        *(
            ({"storage__root": path}, ["kubeflower:storage.root", repr(path), "such as /var/lib/kubeflower"])
            for path in (
                *("/", "data", "/data/", "//data", "/data/../proc", "/data/./x", "/proc/self/root", "/sys", "/dev/x"),
                *("/var", "/var/lib", "/var/run/x", "/var/lib/kubelet/pods", "/etc/kubernetes", "/usr", "/dat\u0430"),
            )
        ),
        *(
            ({"federation__image": image}, ["kubeflower:federation.image", "use an image reference"])
            for image in (
                *("", " ", "UPPER", "a b", "ghcr.io/", "/a", "a:", "a@sha256:12", "a:tag:tag", "http://a/b", "a/../b"),
                *("--privileged", "a\n", "\u0430bc", "a" * 256, "a:" + "b" * 129, "ghcr.io:port/a"),
            )
        ),
        ({"nodes": [*NODES, {**NODES[2], "name": "e1"}]}, ["kubeflower:nodes", "'e1' 2 times"]),
        ({"clients": []}, ["kubeflower:clients", "give keys and values: image_pull_policy, list, num_clients"]),
        ({"clients": {}}, ["kubeflower:clients", "num_clients, or a list"]),
    ],
)
def test_a_bad_input_is_named(changes: dict[str, Any], says: list[str]) -> None:
    message = refused(**changes)
    for words in says:
        assert words in message, message
    assert len(message.splitlines()) <= 2
    assert "Error" not in message
    assert "pydantic" not in message


IMAGES = [
    *("busybox", "library/busybox:1", "ghcr.io/kubeflower/workloads:0.1.0", "localhost:5000/a__b/c.d-e:v1_2.3"),
    f"registry.example.org/a@sha256:{'0' * 64}",
    f"a:1@sha256:{'a' * 64}",
]


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_reference_is_taken(image: str) -> None:
    assert build(federation__image=image).federation.image == image


@pytest.mark.parametrize(
    "root", ["/var/lib/kubeflower", "/data", "/mnt/disk-1/fl", "/srv/fl.raw", "/home/fl/procedures"]
)
def test_a_folder_for_data_is_taken(root: str) -> None:
    assert build(storage__root=root).storage.root == root


@pytest.mark.parametrize("reason", ["each hospital treats its own region", "各医院只收治本地区居民并由登记处核对"])
def test_a_reason_may_be_in_any_language(reason: str) -> None:
    assert build(privacy__disjoint=reason).privacy.disjoint == reason


def test_every_number_is_bounded_and_every_text_has_a_form() -> None:
    """A key that is added later needs its limits too, or a stack file may say anything there."""
    from annotated_types import Ge, Gt, Le, Lt
    from pydantic import BaseModel

    from testbed.spec import Testbed

    def meet(kind: Any, about: tuple[Any, ...], where: str) -> None:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for name, field in kind.model_fields.items():
                meet(field.annotation, tuple(field.metadata), f"{where}.{name}")
            return
        marks = [mark for one in about for mark in (getattr(one, "metadata", None) or [one])]
        if kind in (int, float):
            assert any(isinstance(mark, (Ge, Gt)) for mark in marks), f"{where}: no lower limit"
            assert any(isinstance(mark, (Le, Lt)) for mark in marks), f"{where}: no upper limit"
        if kind is str:
            assert marks, f"{where}: any text"
        if hasattr(kind, "__metadata__"):
            meet(kind.__origin__, (*about, *kind.__metadata__), where)
            return
        if typing.get_origin(kind) is not typing.Literal:
            union = typing.get_origin(kind) in (typing.Union, types.UnionType)
            for inner in typing.get_args(kind):
                meet(inner, about if union else (), where)

    meet(Testbed, (), "kubeflower")


def test_every_problem_is_told_at_once() -> None:
    message = refused(server__prt=1, isolation="none", privacy__epsilon=0)
    assert [line.split(": ")[0] for line in message.splitlines()] == [
        "kubeflower:isolation",
        "kubeflower:server.prt",
        "kubeflower:privacy.epsilon",
    ]


@pytest.mark.parametrize("name", ["Lab", "1lab", "a" * 21, "lab_1", "a-client", "net"])
def test_a_stack_name_that_cannot_name_objects_is_refused(name: str) -> None:
    assert refused(name).startswith(f"stack name: {name!r} — ")


def test_the_name_is_the_stacks_alone() -> None:
    with pytest.raises(SpecError, match="kubeflower:name: unknown key — allowed here: capacity, clients"):
        parse("lab", {**BASE, "name": "other"})


def test_group_that_would_take_the_servers_subnet_is_refused() -> None:
    nodes = [*NODES[:2], {**NODES[2], "domain": "server"}]
    assert "rename the domain" in refused(nodes=nodes, isolation="domain", network__prefix=27)


@given(st.decimals(min_value="0.000001", max_value=1000, places=6))
def test_an_epsilon_is_what_was_written(epsilon: Decimal) -> None:
    if len(str(float(epsilon))) < 15:  # as YAML gives a float
        assert build(privacy__epsilon=float(epsilon)).privacy.epsilon == epsilon
    assert build(privacy__epsilon=str(epsilon)).privacy.epsilon == epsilon


def test_values_may_come_as_pulumi_stores_them() -> None:
    import json

    stored = {key: json.dumps(value) for key, value in BASE.items()} | {"isolation": "node", "capacity": "4"}
    assert parse("lab", stored) == build(isolation="node", capacity=4)


@pytest.mark.parametrize(
    "text", ['{"budget": 0.5, "budget": 0.7}', '{"budget": NaN}', "[" * 99_999, '{"budget": 1e999}']
)
def test_what_pulumi_stores_is_read_strictly_too(text: str) -> None:
    with pytest.raises(SpecError, match=r"^kubeflower:privacy: cannot be read — "):
        parse("lab", {**BASE, "privacy": text})


def test_the_order_of_a_placement_is_not_the_files() -> None:
    """Pulumi's engine sorts a map's keys: clients on other slots would have other addresses and other parts."""
    from testbed.placement import clients

    one, other = ({"placement": {"E1": 1, "C2": 1}}, {"placement": {"C2": 1, "E1": 1}})
    assert clients(build(clients=one)) == clients(build(clients=other))


def test_the_papers_defaults() -> None:
    spec = build()
    assert (spec.server.port, spec.server.node_port, spec.server.image_pull_policy) == (8080, 30051, "IfNotPresent")
    assert (spec.federation.rounds, spec.dataset.download, spec.privacy.budget) == (10, False, Decimal("0.7"))


def test_training_is_without_noise_unless_its_price_is_named() -> None:
    assert build().federation.training_dp is None
    dp = build(**noisy(privacy__delta=1e-6)).federation.training_dp
    assert (dp.epsilon, dp.delta, dp.clipping_norm, dp.number) == (Decimal("0.3"), Decimal("0.000001"), 1.0, 1)
    zcdp = noisy(privacy__delta=1e-9, privacy__composition="zcdp")  # needs no delta of a claim
    assert build(**zcdp).federation.training_dp is not None


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        build().server.port = 1
