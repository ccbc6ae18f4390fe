"""Where the programs of OVN come from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.ovn import programs


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with an OVN of its own, and an empty cache."""
    for name in programs.PROGRAMS:
        _script(tmp_path / "bin" / name, "exit 0")
    schema = tmp_path / programs.SCHEMAS["nb"]
    schema.parent.mkdir(parents=True)
    schema.write_text('{"columns": {"bfd_sessions": {}}}')
    monkeypatch.setattr(programs, "MACHINE", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBEFLOWER_CACHE", str(tmp_path / "cache"))
    programs.root.cache_clear()
    yield tmp_path
    programs.root.cache_clear()


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_new_enough_ovn_of_the_machine_is_used(machine: Path) -> None:
    assert programs.root() == machine
    assert programs.program("ovn-trace") == str(machine / "bin/ovn-trace")


def test_an_old_one_is_passed_over_and_a_failed_fetch_leaves_nothing(machine: Path) -> None:
    (machine / programs.SCHEMAS["nb"]).write_text('{"columns": {}}')
    _script(machine / "bin/apt-get", "echo 'the following signatures: NO_PUBKEY 1' >&2; exit 100")
    with pytest.raises(LabError, match=r"apt-get failed \(update Debian's package debian-archive-keyring\)"):
        programs.root()
    assert list((machine / "cache/tools").iterdir()) == []


def test_what_is_used_is_new_enough_for_kube_ovn() -> None:
    assert programs.NEEDED in programs.schema("nb").read_text()
    for name in programs.PROGRAMS:
        said = subprocess.run([programs.program(name), "--version"], capture_output=True, text=True, check=True).stdout
        assert name in said
