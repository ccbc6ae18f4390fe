"""The controller and the node ports against a real API server and the fabric."""

from __future__ import annotations

import pytest

from . import control
from .worker import Worker

pytestmark = [pytest.mark.fabric, pytest.mark.engine]


def test_from_objects_to_packets(worker: Worker) -> None:
    seen = worker.call(control.lifecycle)
    assert seen["nics"] == [("eth0", "10.31.0.2/24"), ("net1", "10.32.1.2/24"), ("net2", "10.32.2.2/24")]
    assert seen["subnets"] == {
        "join": ("True", 1, 65532),
        "ovn-default": ("True", 0, 65533),
        "t-net-server": ("True", 1, 252),
        "t-net-s001": ("True", 2, 251),
        "t-net-s002": ("True", 2, 251),
    }
    assert seen["vpc"]["standby"] is True
    assert seen["vpc"]["subnets"] == ["t-net-s001"]
    assert seen["conflict"] == {
        "why": "address 10.32.1.3 in subnet 't-net-s001' is held by Pod/t-client-1/supernode-0; "
        "it is retried when that frees it",
        "reasons": {"AddressConflict"},
        "after": None,
        "address": "10.32.1.3",
    }
    assert seen["forwarded"] == control.GREETING
    assert "rival-0.t-client-1" in seen["rows"]
    assert f"node-{worker.paths.name}" in seen["rows"]
