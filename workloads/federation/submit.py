"""Submit the app and see the run through: what the run job does."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from federation.control import FINISHED, UNREGISTERED, Control, Run, SuperNode, UnreachableError, read_public_key
from federation.errors import FederationError, InputError, WaitError
from federation.progress import Progress
from federation.results import read_summary
from federation.settings import Settings, parse

POLL_SECONDS = 0.25
T = TypeVar("T")


@dataclass(frozen=True)
class Submission:
    """What is to be run.

    Attributes:
        superlink: ``host:port`` of the Control API.
        root_certificates: PEM bundle.
        public_keys: folder with ``<client>.pub`` for each client.
        results: the results volume, at the same path as in the ServerApp's container.
        clients: ids that take part.
        config: run configuration by key.
        wait: seconds allowed for the SuperLink to answer, and again for all clients to be online.
        timeout: seconds allowed for the run.
    """

    superlink: str
    root_certificates: Path
    public_keys: Path
    results: Path
    clients: Sequence[str]
    config: Mapping[str, Any]
    wait: float
    timeout: float


def run(submission: Submission, progress: Progress) -> dict[str, Any]:
    """Register the clients, wait for them, run the app, and return the run's summary.

    A retry finds the run it submitted before by the digest of what was submitted, and follows it. Any other run that is
    still going is stopped first: SuperNodes work on one at a time.

    Raises:
        InputError: a key file or a configuration value is wrong; nothing was submitted.
        WaitError: the SuperLink or a client did not come up, or the run took too long and was stopped.
        FederationError: the run failed.
    """
    settings, keys = _check(submission)
    try:
        certificates = submission.root_certificates.read_bytes()
    except OSError as error:
        raise InputError(f"root certificates {submission.root_certificates}: {error.strerror}") from None
    control = Control(submission.superlink, certificates)
    try:
        _await(control.nodes, lambda _: True, submission.wait, progress, f"SuperLink {submission.superlink}")
        before = control.nodes()
        _register(control, before, keys, progress)
        _await_clients(control, before, keys, submission.wait, progress)
        current = _find_or_start(control, settings, keys, progress)
        finished = _follow(control, current, submission.timeout, progress)
    finally:
        control.close()
    if finished.outcome != "completed":
        detail = finished.details.removeprefix("ServerApp failed with exception: ") or "no reason given"
        raise FederationError(f"run {finished.run_id} {finished.outcome}: {detail}")
    return read_summary(submission.results / f"run-{finished.run_id}")


def _check(submission: Submission) -> tuple[Settings, dict[str, bytes]]:
    if not submission.clients:
        raise InputError("--client: at least one client is needed")
    repeated = sorted({c for c in submission.clients if list(submission.clients).count(c) > 1})
    if repeated:
        raise InputError(f"--client: declared twice: {', '.join(repeated)}")
    reserved = sorted({"num-clients", "results", "submission"} & set(submission.config))
    if reserved:
        raise InputError(f"--config: {', '.join(reserved)}: set from --client and --results")
    keys = {client: read_public_key(submission.public_keys / f"{client}.pub") for client in submission.clients}
    owners: dict[bytes, str] = {}
    for client, key in keys.items():
        if key in owners:
            raise InputError(f"public keys of {owners[key]} and {client} are the same; each client needs its own")
        owners[key] = client
    values = {**submission.config, "num-clients": len(keys), "results": str(submission.results)}
    return parse(values), keys


def _register(control: Control, before: Sequence[SuperNode], keys: Mapping[str, bytes], progress: Progress) -> None:
    """Make the SuperLink's admitted keys those declared; a key that is no longer declared is banned for good."""
    known = {node.public_key: node for node in before}
    for client, key in keys.items():
        node = known.get(key)
        if node is not None and node.status == UNREGISTERED:
            raise InputError(
                f"client {client}: its SuperNode key was unregistered, which is permanent; give it a new key "
                "(raise `key` of the client)"
            )
        if node is None:
            control.register(client, key)
            progress.say(f"registered SuperNode {client}")
    declared = set(keys.values())
    for node in known.values():
        if node.public_key not in declared and node.status != UNREGISTERED:
            control.unregister(node.node_id)
            progress.say(f"unregistered SuperNode {node.name or node.node_id}: its client is no longer declared")


def _await_clients(
    control: Control, before: Sequence[SuperNode], keys: Mapping[str, bytes], wait: float, progress: Progress
) -> None:
    """Wait until every client's SuperNode has been heard from.

    A SuperLink that was restarted still calls those online that it heard from before, so a SuperNode that was online
    ``before`` is believed only after its next heartbeat, at most 30 s later.
    """
    clients = {key: client for client, key in keys.items()}
    doubted = {node.public_key: node.online_until for node in before if node.status == "online"}

    def missing() -> str:
        online = {node.public_key: node.online_until for node in control.nodes() if node.status == "online"}
        heard = {key for key, until in online.items() if until != doubted.get(key)}
        return ", ".join(sorted(name for key, name in clients.items() if key not in heard))

    _await(missing, lambda names: not names, wait, progress, "SuperNodes online")


def _await(probe: Callable[[], T], done: Callable[[T], bool], wait: float, progress: Progress, what: str) -> None:
    deadline = time.monotonic() + wait
    state: object = ""
    while True:
        try:
            answer = probe()
            if done(answer):
                progress.say(f"{what}: ready")
                return
            state = f"missing {answer}"
        except UnreachableError as error:
            state = error
        if time.monotonic() > deadline:
            raise WaitError(f"{what}: not ready after {wait:g} s (--wait): {state}")
        progress.tick(f"waiting for {what}: {state}")
        time.sleep(POLL_SECONDS)


def _find_or_start(control: Control, settings: Settings, keys: Mapping[str, bytes], progress: Progress) -> Run:
    from federation.bundle import build  # noqa: PLC0415 - not needed until every client is there

    bundle, digest = build()
    content = [digest, settings.to_config(), {client: key.hex() for client, key in sorted(keys.items())}]
    settings = settings.model_copy(
        update={"submission": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}
    )
    going = [r for r in control.runs() if r.status != FINISHED]
    mine = next((r for r in going if r.submission == settings.submission), None)
    for other in going:
        if other is not mine:
            control.stop(other.run_id)
            progress.say(f"stopped run {other.run_id}: a newer one takes its place")
    if mine is not None:
        progress.say(f"following run {mine.run_id}, submitted earlier")
        return mine
    run_id = control.start(bundle, digest, settings.to_config())
    progress.say(
        f"submitted run {run_id}: {settings.strategy}, {settings.rounds} rounds, {settings.num_clients} clients"
    )
    return control.run(run_id)


def _follow(control: Control, current: Run, timeout: float, progress: Progress) -> Run:
    deadline = time.monotonic() + timeout
    reader = threading.Thread(target=_print_logs, args=(control, current.run_id, progress), daemon=True)
    reader.start()
    while current.status != FINISHED:
        if time.monotonic() > deadline:
            control.stop(current.run_id)
            raise WaitError(f"run {current.run_id}: stopped: not finished after {timeout:g} s (--timeout)")
        time.sleep(POLL_SECONDS)
        try:
            current = control.run(current.run_id)
        except UnreachableError as error:
            progress.tick(f"waiting for the SuperLink to come back: {error}")
    reader.join(timeout=5)
    return current


def _print_logs(control: Control, run_id: int, progress: Progress) -> None:
    after = 0.0
    while True:
        try:
            for text, stamp in control.logs(run_id, after):
                progress.log(text)
                after = stamp
            return
        except UnreachableError:
            time.sleep(POLL_SECONDS)
        except FederationError:
            return
