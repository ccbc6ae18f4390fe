from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import SpecError
from testbed.rules.config import PolicyConfig, dump, parse, read, with_spent

epsilons = st.decimals("0.001", "10", places=3).map(str)
claims = st.dictionaries(st.sampled_from(["c1", "c2", "c3"]), epsilons, max_size=3)
books = st.dictionaries(st.sampled_from(["e1:/ledger", "e2:/ledger"]), claims, max_size=2)
datasets = st.dictionaries(st.sampled_from(["digits", "cifar10"]), books, max_size=2)
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
    named: dict[str, dict[str, dict[str, str]]], ledgers: dict[str, dict[str, dict[str, str]]]
) -> None:
    found = with_spent(
        parse({"privacy-budget": {"budget": "0.5", "spent": named}}), {"privacy-budget": {"spent": ledgers}}
    ).budget
    assert found.budget == Decimal("0.5")
    assert set(found.spent) == set(named) | set(ledgers)
    for dataset, held in found.spent.items():
        before, after = named.get(dataset, {}), ledgers.get(dataset, {})
        assert set(held) == set(before) | set(after)
        for ledger, charged in held.items():
            expected = {**before.get(ledger, {}), **after.get(ledger, {})}
            assert charged == {claim: Decimal(epsilon) for claim, epsilon in expected.items()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "privacy-budget: {budget: 0.5}\nprivacy-budget: {budget: 1}\n",
            "policies.yaml:2: key 'privacy-budget' is given twice",
        ),
        ("privacy-budget: {budget: 1:30}\n", "policies.yaml:1: 1:30 is not the same to all readers"),
        ("privacy-budget:\n  delta: 1e-5\n", "policies.yaml:2: 1e-5 is not the same to all readers"),
        ("privacy-budget: {budget: 0.70000000000000000001}\n", "policies.yaml:1: 0.700000000000000000 has more digits"),
        ("privacy-budget: {budget: true}\n", "privacy-budget.budget: True"),
        ("privacy-budget: {budget: '\u0661'}\n", "privacy-budget.budget: '\u0661'"),
        ("a: b\n---\nprivacy-budget: {}\n", "policies.yaml:3: a second document"),
        (f"privacy-budget: {'[' * 5000}", "policies.yaml:1: nested deeper"),
        ("", "must map a rule's name to its settings"),
    ],
)
def test_a_file_that_readers_read_differently_is_refused_with_its_line(text: str, says: str, tmp_path: Path) -> None:
    (path := tmp_path / "policies.yaml").write_text(text)
    with pytest.raises(SpecError, match=re.escape(says)):
        read(path)


def test_json_and_yaml_configure_alike(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"privacy-budget": {"budget": 0.5, "delta": 1e-5}}')
    (tmp_path / "a.yaml").write_text("privacy-budget: {budget: 0.5, delta: 1.0e-5}")
    assert read(tmp_path / "a.json") == read(tmp_path / "a.yaml")
    assert read(tmp_path / "a.json").budget.budget == Decimal("0.5")


def test_what_a_ledger_cannot_hold_is_refused() -> None:
    with pytest.raises(SpecError, match="spent"):
        with_spent(PolicyConfig(), {"privacy-budget": {"spent": {"digits": {"e1:/ledger": {"c1": "-1"}}}}})
