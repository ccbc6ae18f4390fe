"""What needs neither root nor a lab."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from lab.nodes import image


def test_an_outer_volume_does_not_hide_what_is_bound_below_it(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"mounts": [{"destination": d} for d in ("/a/b/c", "/proc", "/a", "/dev")]}))
    runc = tmp_path / "bin" / "runc"
    runc.parent.mkdir()
    runc.write_text('#!/bin/sh\necho "$@"\n')
    runc.chmod(0o755)
    argv = [sys.executable, "-I", "-S", runtime_file(), "--root", "r", "create", "--bundle", str(tmp_path), "id"]
    env = {**os.environ, "PATH": f"{runc.parent}:{os.environ['PATH']}"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == f"--root r create --bundle {tmp_path} id\n"
    order = [mount["destination"] for mount in json.loads(config.read_text())["mounts"]]
    assert order == ["/proc", "/a", "/dev", "/a/b/c"]


def runtime_file() -> str:
    return str(Path(image.__file__).with_name("runtime.py"))


def test_the_image_is_the_same_bytes_each_time_and_holds_none_of_the_machines_secrets() -> None:
    archive = image.archive()
    assert archive == image.archive()
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        layer = outer.extractfile("layer.tar")
        assert layer is not None
        with tarfile.open(fileobj=layer) as inner:
            names = inner.getnames()
            passwd = inner.extractfile("etc/passwd")
            assert passwd is not None
            assert b"kubeflower:x:49999:49999::/app:" in passwd.read()
    assert "etc/shadow" not in names
    assert "pause" in names
    assert len(archive) < 2 << 20


def test_the_image_binds_what_the_workloads_run_on() -> None:
    binds = image.binds()
    assert image.WORKLOADS in binds
    program = (image.WORKLOADS / ".venv/bin/python").resolve()
    assert any(program.is_relative_to(path) for path in binds)
