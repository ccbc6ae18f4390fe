"""The argv that the testbed declares, read by the installed Flower's own parsers."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from testbed import commands
from testbed import contract as c
from testbed.spec import Federation

from federation import cli
from federation.settings import Settings

APP = Path(cli.__file__).parent


def test_superlink() -> None:
    from flwr.superlink.cli.flower_superlink import _parse_args_run_superlink

    args = _parse_args_run_superlink().parse_args(commands.superlink(8080)[1:])
    assert (args.port, args.isolation, args.enable_supernode_auth) == (8080, "process", True)
    assert args.ssl_certfile == f"{c.MOUNT_TLS}/tls.crt"
    assert args.database == f"{c.MOUNT_STATE}/superlink.db"
    assert args.runtime_dependency_install is False
    assert args.health_server_address == f"127.0.0.1:{c.PORT_HEALTH}"


def test_supernode() -> None:
    from flwr.common.config import parse_config_args
    from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode

    ours = cli._parser().parse_args(commands.supernode("10.64.0.1:8080", "e1-a", 3)[1:])
    args = _parse_args_run_supernode().parse_args(ours.arguments)
    assert (args.superlink, args.host, args.port) == ("10.64.0.1:8080", "127.0.0.1", c.PORT_SUPERNODE_RUNTIME)
    assert parse_config_args([args.node_config]) == {"client": "e1-a", "slot": 3, "data": c.MOUNT_PRIVATE}
    assert args.runtime_dependency_install is False


@pytest.mark.parametrize(
    ("argv", "address", "insecure"),
    [
        (
            cli._parser().parse_args(commands.server_superexec(8080)[1:]).arguments,
            "127.0.0.1:8080",
            False,
        ),
        (
            cli._parser().parse_args(commands.client_superexec()[1:]).arguments,
            f"127.0.0.1:{c.PORT_SUPERNODE_RUNTIME}",
            True,
        ),
    ],
)
def test_superexec(argv: list[str], address: str, insecure: bool) -> None:
    from flwr.supercore.cli.flower_superexec import _parse_args

    args = _parse_args().parse_args(argv)
    assert (args.runtime_api_address, args.insecure) == (address, insecure)
    assert args.superexec_auth_secret_file == f"{c.MOUNT_SUPEREXEC}/secret"
    assert args.runtime_dependency_install is False


def test_probe_and_run() -> None:
    parser = cli._parser()
    assert parser.parse_args(commands.probe()[1:]).address == f"127.0.0.1:{c.PORT_HEALTH}"
    args = parser.parse_args(commands.run("10.60.0.2:8080", {"rounds": 3, "strategy": "fedprox"}, ["a", "b"])[1:])
    assert args.client == ["a", "b"]
    assert cli._config(args.config) == {"rounds": 3, "strategy": "fedprox"}
    assert (args.public_keys, args.results) == (Path(c.MOUNT_PUBLIC_KEYS), Path(c.MOUNT_RESULTS))


def test_flower_takes_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from flwr.supercore.constant import FLWR_DISABLE_UPDATE_CHECK
    from flwr.supercore.superexec.run_superexec import _get_task_poll_interval

    for key, value in commands.environment().items():
        monkeypatch.setenv(key, value)
    assert _get_task_poll_interval() == 0.25
    assert commands.environment()[FLWR_DISABLE_UPDATE_CHECK] == "1"
    code = "from flwr.supercore.telemetry import FLWR_TELEMETRY_ENABLED as on; print(on)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "0"
    assert commands.environment(3500)["OMP_NUM_THREADS"] == "3"


def declared() -> dict[str, Any]:
    values: dict[str, Any] = tomllib.loads((APP / "pyproject.toml").read_text())
    return dict(values["tool"]["flwr"]["app"]["config"])


def test_the_app_declares_every_setting() -> None:
    assert declared() == Settings().to_config()


def test_the_testbed_knows_these_settings_with_the_same_defaults() -> None:
    ours = declared()
    spec = {name.replace("_", "-"): field.default for name, field in Federation.model_fields.items() if name != "image"}
    assert {key: ours.get(key) for key in spec} == spec


def test_the_bundle_holds_the_two_entry_points_only() -> None:
    import io
    import zipfile

    from flwr.cli.build import build_fab_from_disk

    names = set(zipfile.ZipFile(io.BytesIO(build_fab_from_disk(APP))).namelist())
    assert names == {"pyproject.toml", "client_app.py", "server_app.py", ".info/CONTENT"}
