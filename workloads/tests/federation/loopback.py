"""A whole federation on the loopback: the processes, files and argv of the pods, with their mounts in one folder."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from testbed import commands
from testbed import contract as c

from federation.settings import Settings
from p3vc import cli as p3vc
from p3vc.output import Output

BIN = Path(sys.executable).parent


def write_release(folder: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> None:
    """Write data as ``p3vc release`` leaves it, without noise."""
    with Output(folder, (images.shape[1], images.shape[2], images.shape[3])) as output:
        output.append(images, labels)
        output.publish({"claim": "test", "epsilon": "0.7", "mechanism": "laplace"})


def charge(folder: Path, client: str, told: Settings) -> int:
    """Release a client's data anew, with hardly any noise, and run its grant job for a run; returns its exit code."""
    raw = folder.parent / f"{client}-raw"
    where = ["--data", str(raw / "raw.npz"), "--ledger", str(raw / "ledger")]
    if not raw.exists():
        raw.mkdir()
        np.savez(raw / "raw.npz", images=np.load(folder / "images.npy"), labels=np.load(folder / "labels.npy"))
        assert p3vc.main(["register", *where, "--budget", "1000", "--delta", "0.0099"]) == 0
        plain = ["--epsilon", "100", "--block", "1", "--neighbourhood", "1"]
        assert p3vc.main(["release", *where, "--out", str(folder), "--claim", f"{client}-release", *plain]) == 0
    argv = ["grant", *where, "--out", str(folder)]
    argv += ["--claim", f"{client}-training-{told.grant}", "--grant", told.grant, "--rounds", str(told.rounds)]
    argv += ["--epsilon", told.training_epsilon, "--delta", told.training_delta]
    return p3vc.main([*argv, "--clipping-norm", repr(told.clipping_norm)])


def write_certificates(root: Path) -> None:
    """Write ``ca/ca.crt``, ``tls/tls.crt`` and ``tls/tls.key`` for a server on the loopback."""
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(days=1)
    authority, server = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signer = (
        x509.CertificateBuilder(issuer, issuer, authority.public_key(), 1, now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "superlink")])
    leaf = (
        x509.CertificateBuilder(issuer, subject, server.public_key(), 2, now, until)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(authority, hashes.SHA256())
    )
    (root / "ca" / "ca.crt").write_bytes(signer.public_bytes(ser.Encoding.PEM))
    (root / "tls" / "tls.crt").write_bytes(leaf.public_bytes(ser.Encoding.PEM))
    (root / "tls" / "tls.key").write_bytes(
        server.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    )


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


class Process:
    """A container's process: restarted when it exits, as Kubernetes does, until it is stopped."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._argv = [str(BIN / argv[0]), *argv[1:]]
        self._environment = dict(environment)
        self.log = log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._thread.start()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(
                    self._argv, env=self._environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
                self._process.wait()
            self._stopping.wait(1.0)

    def stop(self) -> None:
        """End the process and what it started."""
        self._stopping.set()
        while self._thread.is_alive():
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
            self._thread.join(timeout=0.5)


class Loopback:
    """The server's and the clients' processes under ``root``; used as a context manager."""

    def __init__(self, root: Path, clients: Mapping[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]) -> None:
        self.root = root
        self.clients = list(clients)
        self.port, *ports = free_ports(2 + 2 * len(clients))
        self._server_health = ports[0]
        self._client_ports = {x: (ports[1 + 2 * i], ports[2 + 2 * i]) for i, x in enumerate(clients)}
        self._processes: list[Process] = []
        for folder in ("ca", "tls", "superexec", "state", "results", "public-keys"):
            (root / folder).mkdir(parents=True)
        write_certificates(root)
        (root / "superexec" / "secret").write_bytes(secrets.token_bytes(32))
        for client, (images, labels) in clients.items():
            write_release(root / client / "private", images, labels)
            self.write_key(client)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def health(self) -> str:
        return f"127.0.0.1:{self._server_health}"

    def write_key(self, client: str) -> None:
        """Give a client a new key pair."""
        key = ec.generate_private_key(ec.SECP384R1())
        folder = self.root / client / "key"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "id").write_bytes(key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.OpenSSH, ser.NoEncryption()))
        public = key.public_key().public_bytes(ser.Encoding.OpenSSH, ser.PublicFormat.OpenSSH)
        (self.root / "public-keys" / f"{client}.pub").write_bytes(public + b"\n")

    def environment(self, home: str) -> dict[str, str]:
        """Return the pods' environment with ``home`` in place of ``/app``."""
        folder = self.root / home / "home"
        folder.mkdir(parents=True, exist_ok=True)
        values = {k: v.replace(c.MOUNT_HOME, str(folder)) for k, v in commands.environment().items()}
        return {**values, "PATH": f"{BIN}:{os.environ['PATH']}"}

    def paths(self, argv: Sequence[str], client: str | None = None) -> list[str]:
        """Replace the pods' mounts and fixed ports by this federation's."""
        health, runtime = (self._server_health, 0) if client is None else self._client_ports[client]
        places = {
            c.MOUNT_CA: self.root / "ca",
            c.MOUNT_TLS: self.root / "tls",
            c.MOUNT_SUPEREXEC: self.root / "superexec",
            c.MOUNT_STATE: self.root / "state",
            c.MOUNT_RESULTS: self.root / "results",
            c.MOUNT_PUBLIC_KEYS: self.root / "public-keys",
            c.TERMINATION_LOG: self.root / "termination-log",
            c.MOUNT_KEY: self.root / str(client) / "key",
            c.MOUNT_PRIVATE: self.root / str(client) / "private",
            f":{c.PORT_HEALTH}": f":{health}",
            str(c.PORT_SUPERNODE_RUNTIME): runtime,
        }
        words = list(argv)
        for mount, place in places.items():
            words = [w.replace(mount, str(place)) for w in words]
        return words

    def __enter__(self) -> Loopback:
        self.start("superlink", commands.superlink(self.port), "server")
        self.start("server-superexec", commands.server_superexec(self.port), "server")
        for slot, client in enumerate(self.clients, 1):
            self.start(f"{client}-supernode", commands.supernode(self.address, client, slot), client, client)
            self.start(f"{client}-superexec", commands.client_superexec(), client, client)
        return self

    def start(self, name: str, argv: Sequence[str], home: str, client: str | None = None) -> None:
        """Start one container's process."""
        log = self.root / f"{name}.log"
        self._processes.append(Process(self.paths(argv, client), self.environment(home), log))

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.stop()

    def run(
        self, config: dict[str, str | int | float], clients: Sequence[str] | None = None, *extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the run job to its end."""
        argv, environment = self._job(config, clients), self.environment("run")
        return subprocess.run([*argv, *extra], env=environment, capture_output=True, text=True, check=False)

    def run_until(self, line: str, config: dict[str, str | int | float]) -> None:
        """Run the run job until it says ``line``, then kill it."""
        job = subprocess.Popen(self._job(config, None), env=self.environment("run"), stderr=subprocess.PIPE, text=True)
        with job:
            assert job.stderr is not None
            said = next((text for text in job.stderr if line in text), None)
            job.kill()
        assert said is not None, self.logs()

    def _job(self, config: dict[str, str | int | float], clients: Sequence[str] | None) -> list[str]:
        argv = self.paths(commands.run(self.address, config, list(clients or self.clients)))
        return [str(BIN / argv[0]), *argv[1:]]

    def logs(self) -> str:
        """Return the end of every process's log, for a failed assertion."""
        return "\n".join(f"== {p.log.name}\n{p.log.read_text()[-2000:]}" for p in self._processes)
