"""privacy-budget and p3vc-only on grants: the noise of a run's models, charged like a release and named apart."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from contract.composition import Charge, spent
from contract.decimals import plain
from testbed.report import findings, markdown, structured, text
from testbed.rules.config import parse
from testbed.rules.context import Context
from testbed.rules.violation import Violation

from . import worlds
from .worlds import Body

RULE = "privacy-budget"
DP = {
    "federation__training_dp__epsilon": "0.3",
    "federation__training_dp__delta": "1e-6",
    "privacy__epsilon": "0.4",
    "privacy__delta": "1e-6",
}
CAPS = {"delta": "1e-6"}
LEDGER = "e1:/var/lib/kubeflower/lab/e1/raw/ledger"


def bodies(**changes: Any) -> list[Body]:
    return worlds.bodies(**{**DP, **changes})


def found(manifests: list[Body], **caps: Any) -> list[Violation]:
    return worlds.violations(manifests, {RULE: {**CAPS, **caps}})


def job(manifests: list[Body], client: str = "e1", kind: str = "grant-") -> Body:
    return worlds.one(manifests, "Job", kind, f"lab-client-{client}")


def container(manifests: list[Body]) -> Body:
    return worlds.template(job(manifests))["spec"]["containers"][0]  # type: ignore[no-any-return]


def argv(manifests: list[Body], client: str = "e1", kind: str = "grant-") -> list[str]:
    return worlds.template(job(manifests, client, kind))["spec"]["containers"][0]["command"]  # type: ignore[no-any-return]


def put(manifests: list[Body], flag: str, value: str, client: str = "e1", kind: str = "grant-") -> None:
    words = argv(manifests, client, kind)
    words[words.index(flag) + 1] = value


def note(manifests: list[Body], key: str, value: str | None) -> None:
    notes = worlds.notes(job(manifests))
    if value is None:
        notes.pop(f"kubeflower.io/{key}")
    else:
        notes[f"kubeflower.io/{key}"] = value


def together(manifests: list[Body]) -> list[Body]:
    """Drop the disjointness assertion: clients add up."""
    for client in ("e1", "e3", "e4"):
        for kind in ("p3vc-", "grant-"):
            words = argv(manifests, client, kind)
            at = words.index("--disjoint")
            del words[at : at + 2]
            for key in ("disjoint", "partition"):
                worlds.notes(job(manifests, client, kind)).pop(f"kubeflower.io/{key}")
    return manifests


def test_a_release_and_a_grant_of_one_part_add_up_and_of_others_do_not() -> None:
    assert found(bodies()) == []


def test_over_budget_it_is_refused_line_by_line() -> None:
    (violation,) = found(bodies(privacy__epsilon="0.5"))
    assert violation.message == "dataset digits would spend epsilon 0.8 of 0.7"
    release, grant = (line for line in violation.witness if ":0)" in line)  # client e1's part
    assert release.startswith("0.5  claim e1-")
    assert grant.startswith("0.3 at delta 0.000001, training  claim e1-training-")
    assert "Job lab-client-e1/grant-" in grant
    assert any("0.8  by sum" in line for line in violation.witness)
    assert "0.1" in violation.repair


def test_without_disjointness_every_clients_training_counts() -> None:
    (over, delta) = found(together(bodies()))
    runs = [Charge.of_run("r", Decimal("0.3"), Decimal("1e-6"))] * 3
    shared = plain(spent([*runs, *[Charge(Decimal("0.4"))] * 3], "basic", None))
    assert float(shared) > 2.1  # one noise covers what three clients hold of a record
    assert over.message == f"dataset digits would spend epsilon {shared} of 0.7"
    assert delta.message == "dataset digits would spend delta 0.000003 of 0.000001"
    assert sum("training" in line for line in delta.witness) == 3
    assert not found(together(bodies()), budget=shared, delta="3e-6")


@pytest.mark.parametrize(("allowed", "says"), [(None, "0.000001 of 0"), ("9e-7", "0.000001 of 0.0000009")])
def test_a_delta_over_the_policys_is_refused(allowed: str | None, says: str) -> None:
    problems = [v for v in found(bodies(), delta=allowed) if "would spend delta" in v.message]
    (violation,) = problems
    assert says in violation.message
    assert violation.resource.startswith("Job lab-client-e1/grant-")
    assert "privacy-budget.delta" in violation.repair


def test_the_stack_cannot_register_a_larger_delta_than_the_policy_allows() -> None:
    messages = [v.message for v in found(bodies(privacy__delta="1e-5"))]
    assert "it registers delta 0.00001; the policy allows 0.000001" in messages


def test_noise_composes_as_zcdp_without_its_delta() -> None:
    settings = {"composition": "zcdp", "delta": "1e-5"}
    manifests = bodies(privacy__composition="zcdp", privacy__delta="1e-5", privacy__budget="5")
    (account,) = findings.find(Context(worlds.objects(manifests), parse({RULE: {**settings, "budget": "5"}}))).accounts
    release, grant = Charge(Decimal("0.4")), Charge.of_run("r", Decimal("0.3"), Decimal("1e-6"))
    expected = spent([release, grant], "zcdp", Decimal("1e-5"))
    assert account.epsilon == expected
    assert account.total.delta == Decimal("1e-5")
    assert expected > spent([release], "zcdp", Decimal("1e-5"))
    assert not found(manifests, **settings, budget="5")
    assert any("would spend" in v.message for v in found(manifests, **settings, budget="1"))


def test_what_the_ledger_holds_of_training_counts_once() -> None:
    manifests = bodies()
    words = argv(manifests)
    claim, part = words[words.index("--claim") + 1], "dirichlet of 4, alpha 1.0, seed 7:0"
    same = {"epsilon": "0.3", "delta": "1e-6", "run": claim.rpartition("-")[2], "part": part}
    assert not found(manifests, spent={"digits": {LEDGER: {claim: same}}})
    (over, delta) = found(manifests, spent={"digits": {LEDGER: {"e1-training-earlier": {**same, "run": "earlier"}}}})
    assert over.message == "dataset digits would spend epsilon 1 of 0.7"
    assert any("e1-training-earlier (ledger e1:" in line for line in over.witness)
    assert delta.message == "dataset digits would spend delta 0.000002 of 0.000001"
    dearer = {**same, "delta": "2e-6"}
    assert any("delta" in v.message for v in found(manifests, spent={"digits": {LEDGER: {claim: dearer}}}))


def test_another_run_spends_again() -> None:
    manifests = bodies()
    again = job(bodies(federation__training_dp__number=2))
    assert again["metadata"]["name"] != job(manifests)["metadata"]["name"]
    messages = {v.message for v in found([*manifests, again])}
    assert "dataset digits would spend epsilon 1 of 0.7" in messages


def test_a_new_name_does_not_reset_a_budget() -> None:
    manifests = bodies()
    note(manifests, "dataset", "digits-of-training")
    assert any("a new name does not reset" in v.message for v in found(manifests))


def test_a_part_by_labels_is_not_disjoint_while_labels_are_private() -> None:
    manifests = bodies()
    argv(manifests, kind="p3vc-").extend(["--label-epsilon", "0.01"])
    put(manifests, "--labels", "private", kind="p3vc-")
    dependent = [v for v in found(manifests) if "independent of the data" in v.message]
    both = {job(manifests, kind=kind)["metadata"]["name"] for kind in ("p3vc-", "grant-")}
    assert {v.resource for v in dependent} == {f"Job lab-client-e1/{name}" for name in both}


def whole(manifests: list[Body], client: str) -> None:
    """Make the release one of the whole dataset, as its claim and its gate do not tell."""
    words = argv(manifests, client, "p3vc-")
    for flag in ("--partition", "--partitioner", "--alpha", "--seed", "--disjoint"):
        at = words.index(flag)
        del words[at : at + 2]
    for key in ("disjoint", "partition"):
        worlds.notes(job(manifests, client, "p3vc-")).pop(f"kubeflower.io/{key}")


def test_a_grant_of_a_part_over_a_whole_release_is_refused_and_charged_for_the_whole() -> None:
    manifests = bodies()
    for client in ("e1", "e3", "e4"):
        whole(manifests, client)
    messages = [v.message for v in found(manifests)]
    assert sum("that is of all of it" in m or "beside it is of all of it" in m for m in messages) == 3
    (over,) = [m for m in messages if "would spend epsilon" in m]
    assert float(over.split()[5]) > 3 * (0.4 + 0.3)


def test_a_grant_without_its_release_is_refused() -> None:
    manifests = [body for body in bodies() if not body["metadata"]["name"].startswith("p3vc-")]
    assert any("not among the resources" in v.message for v in found(manifests))


def test_one_run_over_two_datasets_adds_its_mu_over_the_testbed() -> None:
    """A person in both datasets is under one noise: the sum over datasets is more than the sum of the epsilons."""
    manifests = bodies()
    for kind in ("p3vc-", "grant-"):
        note_of(manifests, kind)
    caps = {"testbedBudget": "1.4", "delta": "1e-6"}
    (violation,) = [v for v in found(manifests, **caps) if "over 2 datasets" in v.message]
    shared = spent([Charge.of_run("r", Decimal("0.3"), Decimal("1e-6"))] * 2, "basic", None)
    assert plain(shared + Decimal("0.8")) in violation.message
    assert not found(manifests, **{**caps, "testbedBudget": "1.41"})


def note_of(manifests: list[Body], kind: str) -> None:
    worlds.notes(job(manifests, "e3", kind))["kubeflower.io/dataset"] = "faces"


def cron(manifests: list[Body]) -> None:
    one = job(manifests)
    one |= {"kind": "CronJob", "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": one["spec"]}}}


def unlabelled(manifests: list[Body]) -> None:
    worlds.template(job(manifests))["metadata"]["labels"].pop("kubeflower.io/role")
    put(manifests, "--epsilon", "9")


LIES: dict[str, worlds.Mistake] = {
    "epsilon of the argv": lambda m: put(m, "--epsilon", "5"),
    "epsilon of the label": lambda m: note(m, "epsilon", "0.1"),
    "delta of the argv": lambda m: put(m, "--delta", "0.1"),
    "delta of the label": lambda m: note(m, "delta", "1e-9"),
    "no delta": lambda m: note(m, "delta", None),
    "mechanism": lambda m: note(m, "mechanism", "laplace"),
    "claim": lambda m: note(m, "claim", "e1-training-other"),
    "part": lambda m: note(m, "partition", "1/4"),
    "assertion": lambda m: note(m, "disjoint", "because I say so"),
    "dataset": lambda m: note(m, "dataset", None),
    "cron": cron,
    "unlabelled": unlabelled,
    "shell": lambda m: argv(m).__setitem__(slice(None), ["sh", "-c", " ".join(argv(m))]),
    "variable": lambda m: put(m, "--delta", "$(DELTA)"),
    "unknown flag": lambda m: argv(m).extend(["--noise", "0"]),
    "environment": lambda m: container(m)["env"].append({"name": "PYTHONPATH", "value": "/x"}),
}


@pytest.mark.parametrize("mistake", LIES.values(), ids=LIES)
def test_a_grant_that_lies_or_cannot_be_read_is_refused(mistake: worlds.Mistake) -> None:
    manifests = bodies()
    mistake(manifests)
    problems = [v for v in found(manifests) if v.rule == RULE]
    assert problems
    assert all(v.repair for v in problems)


def supernode(manifests: list[Body]) -> Body:
    return worlds.template(worlds.one(manifests, "StatefulSet", "supernode", "lab-client-e1"))["spec"]  # type: ignore[no-any-return]


def test_a_grant_is_no_release_to_start_from() -> None:
    manifests = bodies()
    words = argv(manifests)
    supernode(manifests)["initContainers"][0]["command"][-1] = words[words.index("--claim") + 1]
    assert any("which no release of client" in v.message for v in found(manifests))


STORAGE: dict[str, worlds.Mistake] = {
    "raw data writable": lambda m: [
        v.update(readOnly=False) for v in container(m)["volumeMounts"] if v["mountPath"] == "/raw"
    ],
    "into the raw data": lambda m: put(m, "--out", "/raw/private"),
    "another client's data": lambda m: worlds.one(m, "PersistentVolumeClaim", "raw", "lab-client-e1")["spec"].update(
        volumeName="lab-client-e3-raw"
    ),
}


@pytest.mark.parametrize("mistake", STORAGE.values(), ids=STORAGE)
def test_a_grant_keeps_to_its_own_clients_volumes(mistake: worlds.Mistake) -> None:
    manifests = bodies()
    mistake(manifests)
    assert any(v.rule == "p3vc-only" for v in found(manifests))


def test_reports_name_training_on_a_line_of_its_own() -> None:
    judged = findings.find(Context(worlds.objects(bodies()), parse({RULE: CAPS})))
    lines = text.findings(judged).splitlines()
    at = lines.index("dataset digits: epsilon 0.7 of 0.7")
    assert lines[at + 1] == "  of which training: epsilon 0.3 at delta 0.000001"
    assert "| digits | 0.7 | 0.7 | 0 | gaussian, laplace |" in markdown.findings(judged)
    assert "| digits, of which training | 0.3 |  |  | gaussian, delta 0.000001 |" in markdown.findings(judged)
    (entry,) = structured.data(judged)["privacy"]
    assert entry["training"] == {"epsilon": "0.3", "delta": "0.000001"}
    assert (entry["epsilon"], entry["delta"]) == ("0.7", "0.000001")
