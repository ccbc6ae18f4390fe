"""The Python language host under the real engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.plugins.conftest import Project

pytestmark = pytest.mark.engine


def test_program_sees_config_secrets_and_stack(project: Project) -> None:
    project.program("""
        config = pulumi.Config()
        print("working in", __import__("os").getcwd())
        pulumi.export("plain", config.require("plain"))
        pulumi.export("secret", config.require_secret("secret"))
        pulumi.export("names", [pulumi.get_project(), pulumi.get_stack(), pulumi.get_organization()])
    """)
    project.run("config", "set", "plain", "one")
    project.run("config", "set", "--secret", "secret", "two")
    text = project.up()
    assert f"working in {project.folder}" in text
    assert "[secret]" in text
    assert "warning" not in text
    assert project.outputs() == {"plain": "one", "secret": "two", "names": ["probe", "test", "organization"]}


def test_main_folder_and_own_modules(project: Project) -> None:
    inner = project.folder / "inner"
    inner.mkdir()
    (project.folder / "Pulumi.yaml").write_text("name: probe\nruntime: python\nmain: inner\n")
    (inner / "language.py").write_text("WORD = 'of the program'\n")
    (inner / "__main__.py").write_text("import pulumi, language\npulumi.export('word', language.WORD)\n")
    project.up()
    assert project.outputs() == {"word": "of the program"}


def test_refusal_shows_its_message_alone(project: Project) -> None:
    project.program("raise pulumi.RunError(\"clients[1].id: 'c1' is taken; give every client its own id\")")
    text = project.run("preview", ok=False)
    assert "error: clients[1].id: 'c1' is taken; give every client its own id" in text
    assert "File" not in text
    assert "exit" not in text


def test_unexpected_failure_shows_the_program_part_of_its_traceback(project: Project) -> None:
    project.program('{}["missing"]')
    text = project.run("preview", ok=False)
    assert "unhandled exception" in text
    assert "KeyError: 'missing'" in text
    assert "executor.py" not in text


def test_missing_program_is_said(project: Project) -> None:
    text = project.run("preview", ok=False)
    assert "no __main__.py" in text or "__main__" in text
    assert "File" not in text


def test_mandatory_policy_stops_the_update(project: Project, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (pack / "__main__.py").write_text("""
from pulumi_policy import EnforcementLevel, PolicyPack, StackValidationPolicy

def no_open(args, report):
    for resource in args.resources:
        if resource.resource_type == "kubernetes:core/v1:ConfigMap":
            report(f"{resource.props['metadata']['name']} may not be, it holds {resource.props['data']['k']}")

PolicyPack("pack", policies=[StackValidationPolicy(
    name="no-config", description="no ConfigMaps", validate=no_open, enforcement_level=EnforcementLevel.MANDATORY)])
""")
    project.program('k8s.core.v1.ConfigMap("refused", metadata={"name": "refused"}, data={"k": "v"})')
    text = project.run("up", "--yes", "--policy-pack", str(pack), ok=False)
    assert "[mandatory]" in text
    assert "refused may not be, it holds v" in text
    project.program('pulumi.export("fine", True)')
    project.run("up", "--yes", "--policy-pack", str(pack))
