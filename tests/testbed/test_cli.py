"""``testbed check|explain|diff`` as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.cli import main
from testbed.rules import RULES
from tests.testbed.rules import worlds

Body = dict[str, Any]


def write(path: Path, manifests: list[Body]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all(manifests, sort_keys=False))
    return path


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write(tmp_path / "clean" / "lab.yaml", worlds.bodies())


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    manifests = [m for m in worlds.bodies() if m["kind"] != "NetworkPolicy"]
    marks = worlds.notes(worlds.one(manifests, "StatefulSet", "supernode", "lab-client-e1"))
    marks["ovn.kubernetes.io/logical_switch"] = "lab-net-s002"
    return write(tmp_path / "broken" / "lab.yaml", manifests)


def test_a_clean_folder_gives_zero(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(clean.parent)]) == 0
    out = capsys.readouterr().out
    assert "24 of 24 pairs" in out
    assert "epsilon 0.7 of 0.7" in out


def test_the_json_of_a_clean_testbed_lists_every_pair(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--format", "json", str(clean)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["violations"] == []
    assert found["isolated_pairs"] == len(found["reachability"]) == 24
    assert {p["verdict"] for p in found["reachability"]} == {"isolated"}
    assert {"from", "to", "verdict", "via", "path"} == set(found["reachability"][0])
    assert found["privacy"][0]["epsilon"] == "0.7"


def test_the_json_of_a_violation_has_witness_repair_and_place(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--format", "json", str(broken)]) == 1
    found = json.loads(capsys.readouterr().out)
    routes = [v for v in found["violations"] if v["rule"] == "no-cross-client-route"]
    one = routes[0]
    assert set(one) == {"rule", "resource", "field", "message", "witness", "repair", "edits", "source"}
    assert one["witness"][0].startswith("lab-client-e")
    assert one["edits"]
    assert one["source"].rpartition(":")[2].isdigit()
    reachable = [p for p in found["reachability"] if p["verdict"] == "reachable"]
    assert reachable[0]["via"] == "direct"
    assert reachable[0]["path"][0].keys() == {"at", "why", "resource", "field"}


def test_sarif_has_what_the_standard_asks_for(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--format", "sarif", str(broken)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == "2.1.0"
    assert found["$schema"].endswith("sarif-2.1.0.json")
    (run,) = found["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [r["id"] for r in rules] == list(RULES)
    assert all(r["shortDescription"]["text"] for r in rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == "error"
        assert result["message"]["text"]
        (location,) = result["locations"]
        if "physicalLocation" in location:
            physical = location["physicalLocation"]
            assert Path(physical["artifactLocation"]["uri"]).name == "lab.yaml"
            assert physical["region"]["startLine"] >= 1


def test_markdown_has_tables(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--format", "md", str(broken)]) == 1
    out = capsys.readouterr().out
    assert "**no-cross-client-route**" in out
    assert "| from | to |" in out
    assert "| dataset | epsilon |" in out


def test_the_policy_configuration_counts(clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "policy.json"
    config.write_text('{"privacy-budget": {"budget": 0.5}}')
    assert main(["check", "--policy-config", str(config), str(clean)]) == 1
    assert "0.7 of 0.5" in capsys.readouterr().out
    config.write_text('{"privacy-budget": {"cap": 0.5}}')
    assert main(["check", "--policy-config", str(config), str(clean)]) == 2
    assert "privacy-budget.cap: unknown key" in capsys.readouterr().err


def test_what_is_no_text_or_nested_without_end_is_refused_in_one_line(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("[" * 100_000)
    assert main(["check", "--policy-config", str(bad), str(clean)]) == 2
    assert capsys.readouterr().err.startswith(f"testbed: {bad}:1: nested deeper")
    bad.write_bytes(b"\xff")
    for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN"):
        monkeypatch.setenv(name, "x")
    assert main(["comment", "--stack", "lab", "--number", "1", str(bad)]) == 2
    assert capsys.readouterr().err.startswith(f"testbed: {bad}: not UTF-8 text")


def test_a_file_whose_name_is_no_text_is_shown_escaped(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = broken.rename(broken.with_name("a\udcff.yaml"))
    assert main(["check", str(named)]) == 1
    assert "a\\udcff.yaml" in capsys.readouterr().out


UNREADABLE = {
    "not YAML": ("a.yaml", "kind: Pod\n  x: [", ":2:"),
    "not JSON": ("a.json", '{\n"kind": }', ":2:"),
    "no kind": ("a.yaml", "---\napiVersion: v1\nkind: Pod\nmetadata: {name: x}\n---\nfoo: bar\n", ":6: no apiVersion"),
    "twice": ("a.yaml", "apiVersion: v1\nkind: Pod\nkind: Job\n", ":3: key 'kind' is given twice"),
    "a list": ("a.yaml", "- 1\n", ":1: not a Kubernetes object"),
    "not text": ("a.yaml", b"\xff\xfe\x00", "not UTF-8"),
}


@pytest.mark.parametrize("case", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_gives_two_with_file_and_line(
    case: tuple[str, str | bytes, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, content, says = case
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["check", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"testbed: {path}")
    assert says in error


def test_missing_and_empty_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.yaml")]) == 2
    assert main(["check", str(tmp_path)]) == 2
    assert "no .yaml, .yml or .json" in capsys.readouterr().err


def test_lists_and_json_are_read_like_documents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": worlds.bodies()}))
    assert main(["check", str(listed)]) == 0
    pods = [m for m in worlds.bodies() if m["kind"] == "StatefulSet"]
    for pod in pods:
        worlds.template(pod)["spec"]["hostNetwork"] = True
    rest = [m for m in worlds.bodies() if m["kind"] != "StatefulSet"]
    typed = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSetList",
        "items": [{k: v for k, v in p.items() if k not in ("apiVersion", "kind")} for p in pods],
    }
    listed.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*rest, typed]}))
    assert main(["check", str(listed)]) == 1
    assert "hostNetwork" in capsys.readouterr().out


def test_explain_an_isolated_pair(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", "lab-client-e1/supernode-0", "lab-client-e3/supernode", str(clean)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "isolated" in out
    assert "what blocks it:" in out
    assert "single changes that would open it:" in out
    assert "hostNetwork" in out


def test_explain_names_the_single_changes_that_open_a_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifests = [m for m in worlds.bodies() if m["kind"] != "NetworkPolicy"]
    assert (
        main(
            [
                "explain",
                "lab-client-e1/supernode",
                "lab-client-e3/supernode",
                str(write(tmp_path / "a.yaml", manifests)),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    changed = "of StatefulSet lab-client-e1/supernode to 'lab-net-s002': reachable (direct)"
    assert changed in out
    assert "no route and no peering leads there" in out or "private drop" in out


def test_explain_a_reachable_pair_shows_the_whole_way_and_the_repair(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "lab-client-e1/supernode", "lab-client-e3/supernode", str(broken)]) == 1
    out = capsys.readouterr().out
    assert "reachable (direct)" in out
    assert "smallest repair:" in out


def test_explain_names_the_pods_there_are(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "nobody/none", "lab-client-e3/supernode", str(clean)]) == 2
    assert "lab-client-e1/supernode" in capsys.readouterr().err


def test_diff(clean: Path, broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(clean), str(clean)]) == 0
    assert capsys.readouterr().out == "no difference\n"
    assert main(["diff", str(clean), str(broken)]) == 0
    out = capsys.readouterr().out
    assert "+ path lab-client-e1/supernode -> lab-client-e3/supernode: reachable (direct)" in out
    assert "+ NIC of lab-client-e1/supernode on lab-net-s002" in out
    assert main(["diff", "--format", "md", str(broken), str(clean)]) == 0
    assert "| removed | lab-client-e1/supernode |" in capsys.readouterr().out
