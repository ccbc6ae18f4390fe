"""Kube-OVN's controller, the plugging and the node ports against a real API server and OVN."""

from __future__ import annotations

import pytest

from . import scenarios
from .worker import Worker

pytestmark = [pytest.mark.fabric, pytest.mark.engine]


def test_from_objects_to_packets(worker: Worker) -> None:
    seen = worker.call(scenarios.lifecycle)
    assert seen["nics"] == [("eth0", "10.31.0.2/24"), ("net1", "10.32.1.2/24"), ("net2", "10.32.2.2/24")]
    assert seen["ready"].keys() == {"join", "ovn-default", "t-net-server", "t-net-s001", "t-net-s002"}
    assert seen["vpc"]["standby"] is True
    assert seen["vpc"]["subnets"] == ["t-net-s001"]
    assert seen["conflict"] == {"said": "rival-0: AddressConflict", "waiting": None, "address": "10.32.1.3"}
    assert seen["forwarded"] == scenarios.GREETING
