"""The SuperLink's Control API: SuperNodes, runs and their logs.

The classes are those behind ``flwr supernode`` and ``flwr run``. They are called rather than the commands because only
they tell which public key a SuperNode has, and because a command costs a second of start-up each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto import control_pb2 as pb
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import FlowerError
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, uses_nist_ec_curve

from federation.errors import FederationError, InputError

UNREGISTERED = "unregistered"
FINISHED = "finished"


class UnreachableError(FederationError):
    """No answer from the SuperLink; trying again may help."""


@dataclass(frozen=True)
class SuperNode:
    """A SuperNode as the SuperLink knows it.

    Attributes:
        node_id: given by the SuperLink.
        public_key: its identity.
        status: registered, online, offline or unregistered.
        name: the client's id.
        online_until: when the SuperLink takes it for lost; every heartbeat moves it.
    """

    node_id: int
    public_key: bytes
    status: str
    name: str
    online_until: float


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        run_id: given by the SuperLink.
        status: pending, starting, running or finished.
        outcome: of a finished run: completed, failed or stopped.
        details: why it failed.
        submission: digest of what was submitted.
    """

    run_id: int
    status: str
    outcome: str
    details: str
    submission: str


class Control:
    """A connection to the Control API.

    Args:
        address: ``host:port``.
        root_certificates: PEM bundle that signs the SuperLink's certificate.
    """

    def __init__(self, address: str, root_certificates: bytes) -> None:
        self._address = address
        self._client = ControlHttpClient.from_server_address(
            server_address=address,
            insecure=False,
            root_certificates=root_certificates,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
        )

    def nodes(self) -> list[SuperNode]:
        """Return every SuperNode ever registered."""
        with self._errors():
            listed = self._client.ListNodes(pb.ListNodesRequest()).nodes_info
        return [SuperNode(n.node_id, n.public_key, n.status, n.name, n.online_until) for n in listed]

    def register(self, name: str, public_key: bytes) -> None:
        """Admit a SuperNode by its public key."""
        with self._errors():
            self._client.RegisterNode(pb.RegisterNodeRequest(public_key=public_key, name=name))

    def unregister(self, node_id: int) -> None:
        """Ban a SuperNode's key for good."""
        with self._errors():
            self._client.UnregisterNode(pb.UnregisterNodeRequest(node_id=node_id))

    def start(self, bundle: bytes, digest: str, config: Mapping[str, str | int | float]) -> int:
        """Submit an app bundle and return the run's id.

        Raises:
            FederationError: the SuperLink refused it.
        """
        request = pb.StartRunRequest(
            fab=fab_to_proto(Fab(digest, bundle, {})), override_config=user_config_to_proto(dict(config))
        )
        with self._errors():
            response = self._client.StartRun(request)
        if not response.HasField("run_id"):
            raise FederationError(f"SuperLink {self._address}: refused the run; its log says why")
        return int(response.run_id)

    def runs(self) -> list[Run]:
        """Return the latest runs, newest first."""
        with self._errors():
            listed = self._client.ListRuns(pb.ListRunsRequest()).run_dict.values()
        return [_run(r) for r in sorted(listed, key=lambda r: str(r.pending_at), reverse=True)]

    def run(self, run_id: int) -> Run:
        """Return one run."""
        with self._errors():
            return _run(self._client.ListRuns(pb.ListRunsRequest(run_id=run_id)).run_dict[run_id])

    def stop(self, run_id: int) -> None:
        """Stop a run."""
        with self._errors():
            self._client.StopRun(pb.StopRunRequest(run_id=run_id))

    def logs(self, run_id: int, after: float) -> Iterator[tuple[str, float]]:
        """Yield the run's log as it grows, with each part's time stamp, until the run has finished."""
        with self._errors():
            for part in self._client.StreamLogs(pb.StreamLogsRequest(run_id=run_id, after_timestamp=after)):
                yield part.log_output, part.latest_timestamp

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            if code in (502, 503, 504):
                raise UnreachableError(f"SuperLink {self._address}: HTTP {code}") from None
            flower = FlowerError.from_json(error.response.text)
            reason = f"HTTP {code}" if flower is None else flower.public_details or flower.message
            raise FederationError(f"SuperLink {self._address}: {reason}") from None
        except httpx.HTTPError as error:
            if "certificate" in str(error).lower():
                raise FederationError(f"SuperLink {self._address}: its certificate is not valid: {error}") from None
            raise UnreachableError(f"SuperLink {self._address}: {error or type(error).__name__}") from None


def _run(run: object) -> Run:
    config = run.override_config  # type: ignore[attr-defined]
    status = run.status  # type: ignore[attr-defined]
    submission = config["submission"].string if "submission" in config else ""
    return Run(run.run_id, status.status, status.sub_status, status.details, submission)  # type: ignore[attr-defined]


def read_public_key(path: Path) -> bytes:
    """Return a SuperNode's public key as the Control API takes it.

    Args:
        path: OpenSSH ``ecdsa-sha2-nistp…`` public key.

    Raises:
        InputError: no such file, or not a key on a NIST curve.
    """
    try:
        key = load_ssh_public_key(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"public key {path}: not found: every --client needs its <client>.pub there") from None
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"public key {path}: cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not uses_nist_ec_curve(key):
        raise InputError(f"public key {path}: not a key on a NIST curve (ecdsa-sha2-nistp256, -nistp384 or -nistp521)")
    return public_key_to_bytes(key)
