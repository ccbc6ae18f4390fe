"""The argv of every process a testbed declares, in one place.

Flower's flags change with almost every minor release, so ``workloads/tests`` parses each of these with the
installed Flower's own parsers and with the P3-VC's. Flags are those of Flower 1.41 (``flwr/supercore/cli``,
``flwr/server/app.py``, ``flwr/supernode/cli``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal

from contract import claim
from contract.decimals import plain
from contract.partition import Partition
from testbed import contract as c


@dataclass(frozen=True)
class Release:
    """The parameters of one P3-VC release: everything that decides what is spent and what comes out."""

    client: str
    dataset: str
    epsilon: Decimal
    mechanism: str
    block: int
    neighbourhood: int
    labels: str  # public | private
    label_epsilon: Decimal | None
    partition: Partition | None
    format: str
    number: int  # raised to release again
    disjoint: str | None = None  # why no person has records in two partitions; recorded in the ledger
    formerly: str | None = None  # the claim's id in ledgers of an earlier version, where it was another

    @property
    def claim(self) -> str:
        """Idempotent claim id: the same parameters are the same claim and are charged once."""
        return claim.release(
            self.client,
            dataset=self.dataset,
            file_format=self.format,
            mechanism=self.mechanism,
            epsilon=self.epsilon,
            block=self.block,
            neighbourhood=self.neighbourhood,
            label_epsilon=self.label_epsilon,
            partition=self.partition,
            number=self.number,
        )

    @property
    def total_epsilon(self) -> Decimal:
        """Everything the release spends: features and, when they are private, labels."""
        return self.epsilon + (self.label_epsilon or Decimal(0))


@dataclass(frozen=True)
class Grant:
    """A client's consent to one run with noise on its models: what its dataset pays, and for how much."""

    release: Release  # of the records the run learns from
    run: str  # digest of everything that makes another run
    epsilon: Decimal
    delta: Decimal
    rounds: int
    clipping_norm: float

    @property
    def claim(self) -> str:
        """Idempotent claim id: the same run is charged once."""
        return claim.grant(self.release.client, self.run)


def p3vc_register(
    budget: Decimal, composition: str, delta: Decimal | None, classes: int, neighbourhood: int
) -> list[str]:
    """Register the raw dataset in its ledger; repeating it with the same terms changes nothing."""
    argv = ["p3vc", "register", "--data", c.MOUNT_RAW, "--ledger", c.MOUNT_LEDGER]
    argv += ["--classes", str(classes), "--budget", str(budget), "--composition", composition]
    argv += ["--neighbourhood", str(neighbourhood)]
    return argv + (["--delta", str(delta)] if delta is not None else [])


def p3vc_release(release: Release) -> list[str]:
    """Release the raw dataset, or one partition of it, into the private volume."""
    argv = ["p3vc", "release", "--data", c.MOUNT_RAW, "--out", c.MOUNT_PRIVATE, "--ledger", c.MOUNT_LEDGER]
    argv += ["--seeds", c.MOUNT_SEEDS, "--claim", release.claim, *_formerly(release)]
    argv += ["--epsilon", plain(release.epsilon), "--mechanism", release.mechanism]
    argv += ["--block", str(release.block), "--neighbourhood", str(release.neighbourhood)]
    argv += ["--labels", release.labels, "--format", release.format]
    if release.label_epsilon is not None:
        argv += ["--label-epsilon", plain(release.label_epsilon)]
    return [*argv, *_part(release), "--termination-log", c.TERMINATION_LOG]


def p3vc_grant(grant: Grant) -> list[str]:
    """Charge the dataset for a run and say so in the private volume, where the client looks before it trains."""
    argv = ["p3vc", "grant", "--data", c.MOUNT_RAW, "--ledger", c.MOUNT_LEDGER, "--out", c.MOUNT_PRIVATE]
    argv += ["--claim", grant.claim, "--grant", grant.run]
    argv += ["--epsilon", plain(grant.epsilon), "--delta", plain(grant.delta), "--rounds", str(grant.rounds)]
    argv += ["--clipping-norm", repr(grant.clipping_norm), "--format", grant.release.format]
    return [*argv, *_part(grant.release), "--termination-log", c.TERMINATION_LOG]


def _part(release: Release) -> list[str]:
    if release.partition is None:
        return []
    part = release.partition
    argv = ["--partition", f"{part.index}/{part.count}", "--partitioner", part.partitioner]
    argv += [] if part.alpha is None else ["--alpha", repr(part.alpha)]
    argv += ["--seed", str(part.seed)]
    return argv + (["--disjoint", release.disjoint] if release.disjoint is not None else [])


def _formerly(release: Release) -> list[str]:
    return [] if release.formerly is None else ["--formerly", release.formerly]


def p3vc_verify(release: Release) -> list[str]:
    """Succeed only if the private volume holds the complete release."""
    return ["p3vc", "verify", "--release", c.MOUNT_PRIVATE, "--claim", release.claim, *_formerly(release)]


def environment(cpu: int = 1000) -> dict[str, str]:
    """Return the environment of every container that runs Flower.

    With a read-only root, Flower writes under ``FLWR_HOME`` (installed apps), ``/tmp`` and, for the database, the state
    volume. Nothing may leave the network: telemetry and the update check are off. Polling for tasks is one second by
    default, which every phase of a round would pay twice; at 0.1 s idle polling takes 2% of a core a client.

    Args:
        cpu: the container's CPU limit in millicores; training uses as many threads as whole CPUs.

    Source: ``flwr/supercore/{telemetry,update_check}.py``, ``flwr/supercore/superexec/run_superexec.py`` (1.41).
    """
    return {
        "HOME": c.MOUNT_HOME,
        "FLWR_HOME": f"{c.MOUNT_HOME}/.flwr",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.25",
        "OMP_NUM_THREADS": str(max(1, cpu // 1000)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def superlink(port: int) -> list[str]:
    """Start the SuperLink: TLS, SuperNode authentication, state on the volume, apps in the SuperExec's container."""
    return [
        *("flower-superlink", "--host", "0.0.0.0", "--port", str(port)),  # noqa: S104 - port security guards each NIC
        *("--isolation", "process", "--database", f"{c.MOUNT_STATE}/superlink.db"),
        *("--ssl-certfile", f"{c.MOUNT_TLS}/tls.crt", "--ssl-keyfile", f"{c.MOUNT_TLS}/tls.key"),
        *("--ssl-ca-certfile", f"{c.MOUNT_CA}/ca.crt"),
        "--enable-supernode-auth",
        *("--superexec-auth-secret-file", f"{c.MOUNT_SUPEREXEC}/secret"),
        "--disable-runtime-dependency-installation",
        *("--health-server-address", f"127.0.0.1:{c.PORT_HEALTH}"),
    ]


def server_superexec(port: int) -> list[str]:
    """Start the executor of ServerApps beside the SuperLink: Flower's, but it runs no foreign app."""
    return [
        *("federation", "superexec", "--runtime-api-address", f"127.0.0.1:{port}"),
        *("--root-certificates", f"{c.MOUNT_CA}/ca.crt"),
        *("--superexec-auth-secret-file", f"{c.MOUNT_SUPEREXEC}/secret"),
    ]


def supernode(superlink_address: str, client: str, slot: int) -> list[str]:
    """Start a client's SuperNode towards the server's address on the client's own link (``host:port``).

    It is Flower's, but looks for its next message sooner (docs/federation-time.md).

    Its private key, ``id``, is an unencrypted OpenSSH private key (``-----BEGIN OPENSSH PRIVATE KEY-----``) on a NIST
    curve; P-384 is what Flower's guide generates (``ssh-keygen -t ecdsa -b 384``). The public key registered for it is
    the matching OpenSSH line (``ecdsa-sha2-nistp384 AAAA…``). PEM PKCS#8 keys and Ed25519 are refused. A key that was
    once unregistered is refused for good. A SuperNode whose key is not registered yet exits, so its container restarts
    until the run job has registered it.
    """
    node_config = f'client="{client}" slot={slot} data="{c.MOUNT_PRIVATE}"'
    return [
        *("federation", "supernode", "--superlink", superlink_address),
        *("--root-certificates", f"{c.MOUNT_CA}/ca.crt"),
        *("--auth-supernode-private-key", f"{c.MOUNT_KEY}/id"),
        *("--node-config", node_config, "--isolation", "process"),
        *("--host", "127.0.0.1", "--port", str(c.PORT_SUPERNODE_RUNTIME)),
        *("--superexec-auth-secret-file", f"{c.MOUNT_SUPEREXEC}/secret"),
        *("--health-server-address", f"127.0.0.1:{c.PORT_HEALTH}"),
    ]


def client_superexec() -> list[str]:
    """Start the executor of ClientApps beside the SuperNode: the same (docs/federation-time.md)."""
    return [
        *("federation", "superexec", "--insecure"),  # loopback inside the pod only
        *("--runtime-api-address", f"127.0.0.1:{c.PORT_SUPERNODE_RUNTIME}"),
        *("--superexec-auth-secret-file", f"{c.MOUNT_SUPEREXEC}/secret"),
    ]


def probe() -> list[str]:
    """Exec probe of a SuperLink or SuperNode container: the gRPC health service on the pod's loopback."""
    return ["federation", "probe", "--address", f"127.0.0.1:{c.PORT_HEALTH}"]


def run(superlink_address: str, config: dict[str, str | int | float], clients: list[str]) -> list[str]:
    """Register the clients' SuperNodes, wait until they are online, run the app, and record its results.

    Args:
        superlink_address: ``host:port`` of the Control API.
        config: the app's run configuration, keys as in ``workloads/federation/pyproject.toml``.
        clients: ids whose ``<id>.pub`` is under the public-keys mount.
    """
    argv = ["federation", "run", "--superlink", superlink_address]
    argv += ["--root-certificates", f"{c.MOUNT_CA}/ca.crt", "--public-keys", c.MOUNT_PUBLIC_KEYS]
    argv += ["--results", c.MOUNT_RESULTS, "--termination-log", c.TERMINATION_LOG]
    for client in clients:
        argv += ["--client", client]
    for key, value in sorted(config.items()):
        argv += ["--config", f"{key}={json.dumps(value)}"]
    return argv
