from __future__ import annotations

from typing import Any

import pytest

from testbed.report import findings
from testbed.rules.config import parse
from testbed.rules.context import Context
from testbed.rules.violation import Violation

from . import worlds
from .worlds import Body

RULE = "privacy-budget"


def job(manifests: list[Body], client: str = "e1") -> Body:
    return worlds.one(manifests, "Job", "p3vc-", f"lab-client-{client}")


def argv(manifests: list[Body], client: str = "e1") -> list[str]:
    return worlds.template(job(manifests, client))["spec"]["containers"][0]["command"]  # type: ignore[no-any-return]


def put(manifests: list[Body], flag: str, value: str | None, client: str = "e1") -> None:
    words = argv(manifests, client)
    if flag in words:
        at = words.index(flag)
        del words[at : at + 2]
    if value is not None:
        words += [flag, value]


def found(manifests: list[Body], config: dict[str, Any] | None = None) -> list[Violation]:
    return [v for v in worlds.violations(manifests, {RULE: config} if config else None) if v.rule == RULE]


def without_disjoint(manifests: list[Body]) -> list[Body]:
    for client in ("e1", "e3", "e4"):
        put(manifests, "--disjoint", None, client)
        for key in ("disjoint", "partition"):
            worlds.notes(job(manifests, client)).pop(f"kubeflower.io/{key}")
    return manifests


def test_clients_of_one_dataset_sum_without_an_assertion() -> None:
    (violation,) = found(without_disjoint(worlds.bodies()))
    assert "2.1 of 0.7" in violation.message
    assert sum(line.startswith("0.7  claim") for line in violation.witness) == 3
    assert not found(without_disjoint(worlds.bodies()), {"budget": "2.1"}), "the cap itself is allowed"
    assert found(without_disjoint(worlds.bodies()), {"budget": "2.0999"})


def test_the_argv_counts_and_not_the_label() -> None:
    manifests = worlds.bodies()
    put(manifests, "--epsilon", "5")
    messages = [v.message for v in found(manifests)]
    assert any("epsilon of the argv is 5" in m for m in messages)
    assert any("5 of 0.7" in m for m in messages)


def test_private_labels_cost_too() -> None:
    manifests = worlds.bodies()
    put(manifests, "--labels", "private")
    put(manifests, "--label-epsilon", "0.1")
    assert any("epsilon of the argv is 0.8" in v.message for v in found(manifests))
    assert any("independent of the data" in v.message for v in found(manifests)), (
        "a Dirichlet split looks at the labels"
    )


def test_the_stack_cannot_raise_the_cap() -> None:
    manifests = worlds.bodies(privacy__budget=7.0, privacy__epsilon=7.0)
    messages = [v.message for v in found(manifests)]
    assert any("registers a budget of 7" in m for m in messages)
    assert any("7 of 0.7" in m for m in messages)


def test_a_budget_that_an_owner_raised_changes_no_cap() -> None:
    """Declared or already spent: what a ledger would admit is not what the policy allows."""
    messages = [v.message for v in found(worlds.bodies(privacy__budget=1.4, privacy__release=2))]
    assert any("registers a budget of 1.4; the policy allows 0.7" in m for m in messages)
    spent = {"digits": {"e1:/var/lib/kubeflower/lab/e1/raw/ledger": {"before the raise": "0.7"}}}
    (violation,) = found(worlds.bodies(privacy__release=2), {"spent": spent})
    assert "1.4 of 0.7" in violation.message


@pytest.mark.parametrize("least", [3, 2, 1, None])
def test_the_policy_sets_the_least_that_is_protected(least: int | None) -> None:
    manifests = worlds.bodies(privacy__neighbourhood=2)
    messages = [v.message for v in found(manifests, None if least is None else {"neighbourhood": least})]
    if least == 3:
        told = "a neighbourhood of 2 pixels; the policy demands at least 3"
        assert {f"it registers {told}", f"it releases for {told}"} == set(messages)
    else:
        assert not messages


def test_a_release_that_does_not_say_what_it_protects_is_refused() -> None:
    manifests = worlds.bodies()
    put(manifests, "--neighbourhood", None)
    (violation,) = [v for v in found(manifests, {"neighbourhood": 2}) if "no neighbourhood" in v.message]
    assert violation.message == "it releases for no neighbourhood; the policy demands at least 2"
    assert "--neighbourhood 2" in violation.repair


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "²"])
def test_a_neighbourhood_is_a_number_of_pixels(value: str) -> None:
    manifests = worlds.bodies()
    put(manifests, "--neighbourhood", value)
    assert any(f"--neighbourhood {value!r} is not a whole number" in v.message for v in found(manifests))


def test_what_the_ledger_holds_counts_and_the_same_claim_counts_once() -> None:
    manifests = worlds.bodies()
    claim = argv(manifests)[argv(manifests).index("--claim") + 1]
    ledger = "e1:/var/lib/kubeflower/lab/e1/raw/ledger"
    assert not found(manifests, {"spent": {"digits": {ledger: {claim: "0.7"}}}})
    (violation,) = found(manifests, {"spent": {"digits": {ledger: {"old": "0.1"}}}})
    assert "0.8 of 0.7" in violation.message
    assert any(f"old (ledger {ledger})" in line for line in violation.witness)
    part = {"epsilon": "0.7", "part": "dirichlet of 4, alpha 1.0, seed 7:3"}
    left = {"e9:/elsewhere/ledger": {"left-client": part}}
    assert not found(manifests, {"spent": {"digits": left}}), "another part of the same partition"


def test_a_client_that_moves_is_charged_again_and_the_plan_says_so() -> None:
    """The new node's ledger knows nothing of the claim, and releases with fresh noise."""
    manifests = worlds.bodies()
    claim = argv(manifests)[argv(manifests).index("--claim") + 1]
    part = {"epsilon": "0.7", "part": "dirichlet of 4, alpha 1.0, seed 7:0"}
    (violation,) = found(manifests, {"spent": {"digits": {"e2:/var/lib/kubeflower/lab/e1/raw/ledger": {claim: part}}}})
    assert "1.4 of 0.7" in violation.message
    assert any(f"claim {claim} (ledger e2:/var/lib/" in line for line in violation.witness)


def test_a_second_release_of_one_part_counts_again() -> None:
    manifests = worlds.bodies()
    again = worlds.bodies(privacy__release=2)
    extra = job(again)
    assert extra["metadata"]["name"] != job(manifests)["metadata"]["name"]
    assert any("1.4 of 0.7" in v.message for v in found([*manifests, extra]))


def test_parallel_pods_of_one_job_are_one_claim() -> None:
    manifests = worlds.bodies()
    job(manifests)["spec"] |= {"parallelism": 3, "completions": 9}
    assert not found(manifests)


def test_a_new_name_does_not_reset_a_budget() -> None:
    manifests = worlds.bodies()
    extra = job(worlds.bodies(privacy__release=2))
    worlds.notes(extra)["kubeflower.io/dataset"] = "digits-renamed"
    messages = [v.message for v in found([*manifests, extra])]
    assert any("a new name does not reset" in m for m in messages)
    assert any("1.4 of 0.7 over 2 datasets" in m for m in messages)


@pytest.mark.parametrize("folder", ["/raw/part", "/raw/a/b"])
def test_a_folder_of_a_volume_is_of_the_volume(folder: str) -> None:
    manifests = worlds.bodies()
    extra = job(worlds.bodies(privacy__release=2))
    words = worlds.template(extra)["spec"]["containers"][0]["command"]
    words[words.index("--data") + 1] = folder
    worlds.notes(extra)["kubeflower.io/dataset"] = "digits-renamed"
    messages = [v.message for v in found([*manifests, extra], {"testbedBudget": "1.4"})]
    assert any("a new name does not reset" in m for m in messages)


def test_data_on_no_volume_is_not_proved() -> None:
    manifests = worlds.bodies()
    put(manifests, "--data", "/elsewhere")
    assert any("which volume --data /elsewhere is on" in v.message for v in found(manifests))


@pytest.mark.parametrize("alias", ["/raw/.", "/raw/", "//raw", "/private/../raw", "raw"])
def test_a_folder_goes_by_one_name(alias: str) -> None:
    manifests = worlds.bodies()
    put(manifests, "--data", alias)
    assert any("not an absolute path in its plain form" in v.message for v in found(manifests))


def test_parts_of_different_partitions_sum() -> None:
    manifests = worlds.bodies()
    put(manifests, "--seed", "8")
    assert any("1.4 of 0.7" in v.message for v in found(manifests))


def test_advanced_composition_is_rounded_up() -> None:
    manifests = without_disjoint(
        worlds.bodies(privacy__composition="advanced", privacy__delta="1e-5", privacy__budget=20)
    )
    settings = {"budget": "20", "composition": "advanced", "delta": "1e-5"}
    assert not found(manifests, settings)
    assert {v.message.partition(" budget of")[0] for v in found(manifests, settings | {"budget": "6.553"})} == {
        "it registers a"
    }
    (over,) = [v for v in found(manifests, settings | {"budget": "6.5"}) if "would spend" in v.message]
    assert "6.5529" in over.message, "sqrt(2 ln(1e5) 3 0.49) + 3 0.49 / 2"


def test_a_policy_without_its_delta_refuses() -> None:
    (violation,) = found(worlds.bodies(), {"composition": "zcdp"})
    assert "has no delta" in violation.message
    config = parse({RULE: {"composition": "zcdp"}})
    assert findings.find(Context(worlds.objects(worlds.bodies()), config)).accounts == ()


def test_paper_mode_is_refused() -> None:
    manifests = worlds.bodies(privacy__mechanism="paper")
    assert any("paper carries no privacy claim" in v.message for v in found(manifests))


def to_cron(manifests: list[Body]) -> None:
    one = job(manifests)
    one |= {"kind": "CronJob", "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": one["spec"]}}}


def shell(manifests: list[Body]) -> None:
    argv(manifests)[:] = ["sh", "-c", " ".join(argv(manifests))]


def container(manifests: list[Body]) -> Body:
    return worlds.template(job(manifests))["spec"]["containers"][0]  # type: ignore[no-any-return]


def unlabelled(manifests: list[Body]) -> None:
    worlds.template(job(manifests))["metadata"]["labels"].pop("kubeflower.io/role")
    put(manifests, "--epsilon", "9")


UNPROVEN: dict[str, worlds.Mistake] = {
    "cron": to_cron,
    "shell": shell,
    "no command": lambda m: container(m).pop("command"),
    "variable": lambda m: argv(m).__setitem__(argv(m).index("--epsilon") + 1, "$(EPSILON)"),
    "unknown flag": lambda m: argv(m).extend(["--eps", "9"]),
    "twice": lambda m: argv(m).extend(["--epsilon", "9"]),
    "not a number": lambda m: argv(m).__setitem__(argv(m).index("--epsilon") + 1, "NaN"),
    "negative": lambda m: argv(m).__setitem__(argv(m).index("--epsilon") + 1, "-1"),
    "environment": lambda m: container(m)["env"].append({"name": "PYTHONPATH", "value": "/x"}),
    "envFrom": lambda m: container(m).__setitem__("envFrom", [{"configMapRef": {"name": "x"}}]),
    "python's home": lambda m: container(m)["env"].append({"name": "HOME", "value": "/private"}),
    "working folder": lambda m: container(m).__setitem__("workingDir", "/private"),
    "a file over the ledger": lambda m: container(m).update(terminationMessagePath="/ledger/ledger.jsonl"),
    "a report over the ledger": lambda m: put(m, "--termination-log", "/ledger/ledger.jsonl"),
    "hook": lambda m: container(m).__setitem__("lifecycle", {"postStart": {"exec": {"command": ["p3vc"]}}}),
    "sidecar": lambda m: worlds.template(job(m))["spec"]["containers"].append({"name": "x", "image": "y"}),
    "dataset": lambda m: worlds.notes(job(m)).pop("kubeflower.io/dataset"),
    "claim": lambda m: worlds.notes(job(m)).__setitem__("kubeflower.io/claim", "x"),
    "mechanism": lambda m: worlds.notes(job(m)).__setitem__("kubeflower.io/mechanism", "exponential"),
    "assertion": lambda m: worlds.notes(job(m)).__setitem__("kubeflower.io/disjoint", "because I say so"),
    "part": lambda m: worlds.notes(job(m)).__setitem__("kubeflower.io/partition", "1/4"),
    "deployment": lambda m: job(m).update(kind="Deployment", apiVersion="apps/v1"),
    "unlabelled": unlabelled,
}


@pytest.mark.parametrize("mistake", UNPROVEN.values(), ids=UNPROVEN)
def test_what_cannot_be_read_is_refused(mistake: worlds.Mistake) -> None:
    manifests = worlds.bodies()
    mistake(manifests)
    problems = found(manifests)
    assert problems
    assert all(v.repair for v in problems)
