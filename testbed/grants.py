"""What one run of the app is told and, where its models carry noise, what each client grants it."""

from __future__ import annotations

import hashlib
import json

from testbed import addressing, placement
from testbed.budget import show
from testbed.commands import Grant
from testbed.releases import release
from testbed.spec import Client, Testbed

Config = dict[str, str | int | float]


def config(spec: Testbed) -> Config:
    """Return the app's run configuration, keys as in ``workloads/federation/pyproject.toml``."""
    told, training = _learning(spec), spec.federation.training_dp
    return told | {"grant": _run(spec, told)} if training else told


def grant(spec: Testbed, client: Client) -> Grant | None:
    """Return what a client grants the declared run; None where nothing is asked for."""
    training = spec.federation.training_dp
    if training is None:
        return None
    return Grant(
        release=release(spec, client),
        run=_run(spec, _learning(spec)),
        epsilon=training.epsilon,
        delta=training.delta,
        rounds=spec.federation.rounds,
        clipping_norm=training.clipping_norm,
    )


def _learning(spec: Testbed) -> Config:
    """Return the run configuration without its grant; the image decides what runs, not how it learns."""
    told: Config = {
        key.replace("_", "-"): value for key, value in spec.federation if key not in ("image", "training_dp")
    }
    if training := spec.federation.training_dp:
        told |= {
            "training-epsilon": show(training.epsilon),
            "training-delta": show(training.delta),
            "clipping-norm": training.clipping_norm,
        }
    return told


def _run(spec: Testbed, told: Config) -> str:
    """Name the run to be granted by everything that makes the run's Job another one, which then runs again.

    A second run of the same grant would show the clients' data twice for one price: the server refuses it.
    """
    server, training = spec.server, spec.federation.training_dp
    members = [[one.id, one.key, release(spec, one).claim] for one in placement.clients(spec)]
    content = {
        "config": told,
        "image": spec.federation.image,
        "number": training.number if training else None,
        "server": [server.node, server.port, server.image_pull_policy, str(addressing.server_address(spec))],
        "clients": members,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
