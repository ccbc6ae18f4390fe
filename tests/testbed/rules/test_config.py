from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import SpecError
from testbed.rules.config import PolicyConfig, dump, parse, with_spent

epsilons = st.decimals("0.001", "10", places=3).map(str)
claims = st.dictionaries(st.sampled_from(["c1", "c2", "c3"]), epsilons, max_size=3)
datasets = st.dictionaries(st.sampled_from(["digits", "cifar10"]), claims, max_size=2)
settings = st.fixed_dictionaries(
    {},
    optional={
        "privacy-budget": st.fixed_dictionaries(
            {"budget": epsilons, "spent": datasets}, optional={"delta": st.just("1e-5")}
        ),
        "no-cross-client-route": st.fixed_dictionaries({"isolation": st.sampled_from(["client", "node", "domain"])}),
    },
)


@given(settings)
def test_what_is_dumped_is_read_again_as_it_was(data: dict[str, object]) -> None:
    config = parse(data)
    assert parse(json.loads(json.dumps(dump(config)))) == config


def test_the_defaults_need_no_file() -> None:
    assert dump(PolicyConfig()) == {}


@given(datasets, datasets)
def test_no_claim_is_lost_and_the_ledgers_word_counts(
    named: dict[str, dict[str, str]], ledgers: dict[str, dict[str, str]]
) -> None:
    found = with_spent(
        parse({"privacy-budget": {"budget": "0.5", "spent": named}}), {"privacy-budget": {"spent": ledgers}}
    ).budget
    assert found.budget == Decimal("0.5")
    assert set(found.spent) == set(named) | set(ledgers)
    for dataset, held in found.spent.items():
        expected = {**named.get(dataset, {}), **ledgers.get(dataset, {})}
        assert held == {claim: Decimal(epsilon) for claim, epsilon in expected.items()}


def test_what_a_ledger_cannot_hold_is_refused() -> None:
    with pytest.raises(SpecError, match="spent"):
        with_spent(PolicyConfig(), {"privacy-budget": {"spent": {"digits": {"c1": "-1"}}}})
