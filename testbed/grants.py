"""What one run of the app is told and, where its models carry noise, what each client grants it."""

from __future__ import annotations

from functools import lru_cache

from contract import claim
from contract.decimals import plain
from testbed import addressing, placement
from testbed.commands import Grant
from testbed.releases import release
from testbed.spec import Client, Testbed

Config = dict[str, str | int | float]


def config(spec: Testbed) -> Config:
    """Return the app's run configuration, keys as in ``workloads/federation/pyproject.toml``."""
    told = _learning(spec)
    return told | {"grant": _run(spec)} if spec.federation.training_dp else told


def grant(spec: Testbed, client: Client) -> Grant | None:
    """Return what a client grants the declared run; None where nothing is asked for."""
    training = spec.federation.training_dp
    if training is None:
        return None
    return Grant(
        release=release(spec, client),
        run=_run(spec),
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
    told["num-classes"] = spec.dataset.classes
    if training := spec.federation.training_dp:
        told |= {
            "training-epsilon": plain(training.epsilon),
            "training-delta": plain(training.delta),
            "clipping-norm": training.clipping_norm,
        }
    return told


@lru_cache(maxsize=1)  # every client is asked for its grant of the same run
def _run(spec: Testbed) -> str:
    """Name the run to be granted by everything that makes the run's Job another one, which then runs again.

    A second run of the same grant would show the clients' data twice for one price: the server refuses it.
    """
    server, training = spec.server, spec.federation.training_dp
    members = [[one.id, one.key, release(spec, one).claim] for one in placement.clients(spec)]
    content: dict[str, object] = {
        "config": _learning(spec),
        "image": spec.federation.image,
        "number": training.number if training else None,
        "server": [server.node, server.port, server.image_pull_policy, str(addressing.server_address(spec))],
        "clients": members,
    }
    return claim.digest(content)
