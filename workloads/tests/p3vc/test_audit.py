from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from p3vc.audit import _images, audit, lower_bound
from p3vc.expected import expected_error
from p3vc.keystream import Keystream
from p3vc.mechanisms import Laplace, build
from p3vc.pixelise import Grid
from p3vc.sensitivity import Domain
from tests.p3vc.support import SEED, Tool

TRIALS = 60_000


@pytest.mark.parametrize(("name", "tight"), [("laplace", 0.75), ("exponential", 0.05), ("labels", 0.75)])
@pytest.mark.parametrize("epsilon", ["0.7", "2"])
def test_no_measured_loss_is_above_its_claim(name: str, tight: float, epsilon: str) -> None:
    record = audit(name, Decimal(epsilon), TRIALS, seed=1)
    assert record["consistent"]
    assert tight * float(epsilon) < record["lower_bound"] <= float(epsilon)  # the test has the power to find a loss


@pytest.mark.parametrize("epsilon", ["0.1", "0.7"])
def test_the_papers_recipe_loses_far_more_than_its_epsilon(epsilon: str) -> None:
    record = audit("paper", Decimal(epsilon), 20_000, seed=1)
    assert not record["consistent"]
    assert record["lower_bound"] > 4


def test_channels_left_out_of_the_sensitivity_are_found() -> None:
    """The audit's own test: noise for one channel where three change loses three times the claim."""
    wrong = Laplace(Grid(8, 8, 4), 255 * 16, Fraction("0.7"))
    assert 0.7 < lower_bound(_images(wrong), TRIALS, seed=1) <= 2.1


def test_an_audit_repeats_and_prints(tool: Tool) -> None:
    argv = ("audit", "--mechanism", "labels", "--trials", "2000", "--json")
    code, out, _ = tool.run(*argv)
    assert (code, tool.run(*argv)[1]) == (0, out)
    assert json.loads(out)["claimed"] == "0.7"


@pytest.mark.parametrize("name", ["laplace", "exponential"])
@pytest.mark.parametrize("epsilon", ["0.3", "3", "60"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 7, 9)])
def test_the_error_expected_before_spending_is_the_error_measured(
    name: str, epsilon: str, shape: tuple[int, int, int]
) -> None:
    domain = Domain(shape)
    mechanism = build(name, Decimal(epsilon), 4, 2, domain)
    grey = np.random.default_rng(0).integers(0, 256, (20_000, 1, 1, 1), dtype=np.uint8)
    flat = np.broadcast_to(grey, (20_000, *shape)).copy()  # uniform block means, as the expectation assumes
    error = np.abs(mechanism.release(flat, Keystream(SEED, "error")).astype(int) - flat).mean()
    expected = expected_error(name, float(mechanism.scale), 4, domain)
    assert error == pytest.approx(expected["clamped"], rel=0.03, abs=0.3)
