from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from federation import record
from federation.cli import main
from federation.errors import InputError
from federation.settings import parse
from tests.federation.loopback import BIN, free_ports


def summary(rounds: int, clients: int) -> dict[str, Any]:
    row = {"loss": 1.23456789, "accuracy": 0.987654321, "seconds": 12.3456, "bytes": 9577377}
    names = [f"edge-cluster-client-{i}" for i in range(clients)]
    return {
        "run": 2**63,
        "model": "ab" * 32,
        "rounds": [{"round": i + 1, **row} for i in range(rounds)],
        "clients": {n: {"epsilon": "0.7", "mechanism": "exponential"} for n in names},
        "client-accuracy": dict.fromkeys(names, 0.98765),
    }


@pytest.mark.parametrize(("rounds", "clients"), [(3, 3), (10, 10), (500, 12), (3, 250)])
def test_a_record_fits_a_termination_message(rounds: int, clients: int) -> None:
    text = record.success(summary(rounds, clients))
    assert len(text.encode()) <= record.LIMIT
    data = json.loads(text)
    assert data["model"] == "ab" * 32
    if rounds <= 10 and clients <= 10:
        assert len(data["rounds"]) == rounds
        assert data["clients"]["edge-cluster-client-0"] == {
            "accuracy": 0.9877,
            "epsilon": "0.7",
            "mechanism": "exponential",
        }
    elif data["rounds"]:
        assert data["rounds"][-1]["round"] == rounds


@pytest.mark.parametrize("message", ["no data", "x" * 10000, "\N{SNOWMAN}" * 5000, '"' * 5000])
def test_a_failure_fits_too(message: str) -> None:
    text = record.failure(message)
    assert len(text.encode()) <= record.LIMIT
    assert message.startswith(json.loads(text)["error"])
    assert json.loads(text)["error"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"rounds": 0}, "rounds: 0: input should be greater than or equal to 1"),
        ({"epochs": 3}, "epochs: unknown key; allowed: batch-size, "),
        ({"strategy": "fedsgd"}, "strategy: 'fedsgd': input should be 'fedavg', 'fedprox' or 'fedadam'"),
        ({"learning-rate": float("nan")}, "learning-rate: nan: input should be a finite number"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(values)
    assert says in str(caught.value)


def run_arguments(tmp_path: Path, *more: str) -> list[str]:
    (tmp_path / "ca.crt").write_text("")
    return [
        *("run", "--superlink", "127.0.0.1:1", "--root-certificates", str(tmp_path / "ca.crt")),
        *("--public-keys", str(tmp_path), "--results", str(tmp_path), "--termination-log", str(tmp_path / "log")),
        *more,
    ]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ((), "at least one client"),
        (("--client", "a"), "a.pub: not found"),
        (("--client", "a", "--client", "a"), "declared twice: a"),
        (("--client", "a", "--config", "rounds=three"), "expected KEY=VALUE"),
        (("--client", "a", "--config", "num-clients=3"), "set from --client"),
        (("--client", "b"), "b.pub: cannot be read"),
        (("--client", "ed"), "not a key on a NIST curve"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], says: str
) -> None:
    (tmp_path / "b.pub").write_text("not a key")
    (tmp_path / "ed.pub").write_text(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFrZjUWyLGnkVPlCXMJNUnRLP3X4vg/f5hTtCnZ0Z3hS\n"
    )
    assert main(run_arguments(tmp_path, *more)) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert says in json.loads((tmp_path / "log").read_text())["error"]


def test_a_superlink_that_never_answers_is_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cryptography.hazmat.primitives import serialization as ser
    from cryptography.hazmat.primitives.asymmetric import ec

    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "a.pub").write_bytes(public.public_bytes(ser.Encoding.OpenSSH, ser.PublicFormat.OpenSSH))
    arguments = run_arguments(tmp_path, "--client", "a", "--wait", "0.5")
    import certifi

    (tmp_path / "ca.crt").write_text(Path(certifi.where()).read_text())
    assert main(arguments) == 3
    assert "SuperLink 127.0.0.1:1: not ready after 0.5 s (--wait)" in capsys.readouterr().err


def test_probe(capsys: pytest.CaptureFixture[str]) -> None:
    from flwr.supercore.grpc_health import run_health_server_grpc_no_tls

    (port,) = free_ports(1)
    assert main(["probe", "--address", f"127.0.0.1:{port}", "--timeout", "1"]) == 1
    assert "unavailable" in capsys.readouterr().err
    server = run_health_server_grpc_no_tls(f"127.0.0.1:{port}")
    try:
        assert main(["probe", "--address", f"127.0.0.1:{port}"]) == 0
        assert (
            subprocess.run([BIN / "federation", "probe", "--address", f"127.0.0.1:{port}"], check=False).returncode == 0
        )
    finally:
        server.stop(0)
    assert main(["probe", "--address", "nonsense"]) == 2


def test_a_probe_loads_neither_flower_nor_torch() -> None:
    code = (
        "import sys; from federation.cli import main; main(['probe', '--address', '127.0.0.1:1', '--timeout', '0.2']);"
        "print(sorted({'flwr', 'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
