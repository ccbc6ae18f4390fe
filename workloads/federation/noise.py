"""Training under differential privacy: Flower's clipping and Gaussian noise on the server, kept to what was granted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import NeighboringRelation, PrivacyConfig, SamplingMethod
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from flwr.supercore.differential_privacy import get_norm
from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant

from contract import gaussian
from federation.errors import FederationError
from federation.settings import Settings

# Rényi orders of Flower's accountant: its own end at 1024, too coarse for an epsilon under 0.01.
_ORDERS = tuple(1 + 2 ** (k / 4) for k in range(-40, 200))


def accountant(settings: Settings) -> RdpAccountant:
    """Return Flower's accountant of a run: adding or removing a client, half the shift that the ledger charges for."""
    config = PrivacyConfig(
        target_delta=float(settings.training_delta),
        population_size=settings.num_clients,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        sampling_method=SamplingMethod.NO_AMPLIFICATION,
        max_epsilon=float(settings.training_epsilon),
    )
    return RdpAccountant(config, _ORDERS)


class CentralNoise(DifferentialPrivacyServerSideFixedClipping):
    """Flower's strategy for one granted run.

    Args:
        strategy: FedAvg, or one that aggregates as it does.
        settings: with a grant.
        spend: called before the first model that depends on the clients is made; raises where the grant was used.
    """

    def __init__(self, strategy: FedAvg, settings: Settings, spend: Callable[[], None]) -> None:
        self._flower = accountant(settings)
        super().__init__(
            strategy,
            gaussian.noise_multiplier(settings.granted_epsilon, settings.granted_delta, settings.rounds),
            settings.clipping_norm,
            settings.num_clients,
            accountant=self._flower,
        )
        self._rounds = settings.rounds
        self._spend = spend

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip, average and add noise.

        Raises:
            FederationError: a reply is under another grant or cannot be clipped, or the grant is used up.
        """
        answers = list(replies)
        for reply in answers:
            self._check(reply)
        released = self._flower.num_releases
        if released >= self._rounds:
            raise FederationError(f"round {server_round}: the grant is for {self._rounds} rounds, which are done")
        if not released:
            self._spend()
        # Flower draws from NumPy's global generator. Fresh entropy before each draw: whatever seeded it before, and
        # whatever the models published so far tell of its state, says nothing of this round's noise.
        np.random.seed()
        return super().aggregate_train(server_round, answers)

    def _check(self, reply: Message) -> None:
        provenance = reply.content["provenance"]
        client, granted = str(provenance["client"]), provenance.get("noise-multiplier")
        if granted != self.noise_multiplier:
            raise FederationError(
                f"client {client}: its grant is for noise multiplier {granted!r}, and this run adds "
                f"{self.noise_multiplier}: server and clients run different versions; give all the same image"
            )
        (record,) = reply.content.array_records.values()
        arrays = zip(record.to_numpy_ndarrays(), self.current_arrays.to_numpy_ndarrays(), strict=True)
        with np.errstate(over="ignore", invalid="ignore"):
            norm = get_norm([after - before for after, before in arrays])
        if not 0 < norm < math.inf:  # Flower would pass NaN unclipped and divide by zero
            raise FederationError(
                f"client {client}: its update has norm {norm}, which cannot be clipped: training diverged; lower "
                "learning-rate, or the noise that it starts from (clipping-norm)"
            )
