from __future__ import annotations

from typing import Any

from rich.console import Console

from lab import report
from lab.paths import REPOSITORY
from testbed import outputs, placement, stackfile
from testbed.spec import Testbed


def _told(spec: Testbed) -> str:
    after = {"budgetLeft": "0.3", "records": 12, "note": None}
    told: dict[str, Any] = {one.id: outputs.client(spec, one) | after for one in placement.clients(spec)}
    console = Console(width=report.NARROWEST + 30)
    with console.capture() as captured:
        console.print(report.clients({"clients": told}))
    return captured.get()


SPEC = stackfile.read("lab", REPOSITORY)


def test_each_client_has_a_line() -> None:
    title, head, *lines = _told(SPEC).splitlines()
    assert title.strip() == "Clients"
    assert "training" not in head
    assert [line.split()[0] for line in lines] == [one.id for one in placement.clients(SPEC)]


def test_noise_on_the_models_is_told_beside_the_release() -> None:
    training = {"epsilon": "0.3", "delta": "0.000001"}
    federation = SPEC.federation.model_validate({**SPEC.federation.model_dump(), "training_dp": training})
    _, head, *lines = _told(SPEC.model_copy(update={"federation": federation})).splitlines()
    assert "training ε  training δ" in head
    assert all("0.7  0.3         0.000001    0.3 of 0.7" in line for line in lines)
