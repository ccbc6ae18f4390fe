"""How a comparison's runs are ordered and summed up; the runs themselves are `make bench`."""

from __future__ import annotations

import pytest

from lab.overhead import LAB, PLAIN, Run, order, table


@pytest.mark.parametrize("passes", [2, 4])
def test_neither_is_favoured_by_a_machine_that_slows_down(passes: int) -> None:
    when = {kind: [at for at, one in enumerate(order(passes)) if one == kind] for kind in (LAB, PLAIN)}
    assert len(when[LAB]) == len(when[PLAIN]) == passes
    assert sum(when[LAB]) == sum(when[PLAIN])
    assert order(passes)[0] == LAB  # the lab makes the releases that both learn from


def test_the_ratio_is_of_the_means() -> None:
    summary = {"rounds": [{"seconds": 4.0}, {"seconds": 6.0}], "seconds": 13.0}
    runs = {PLAIN: [Run.of(summary), Run((5.0, 5.0), 15.0)], LAB: [Run((6.0, 5.0), 14.0), Run((5.5, 5.5), 21.0)]}
    assert table(runs).splitlines() == [
        "plain Flower     5.00 s a round (standard deviation 0.82 s, 4 rounds),   14.0 s in all (13.0, 15.0)",
        "lab              5.50 s a round (standard deviation 0.41 s, 4 rounds),   17.5 s in all (14.0, 21.0)",
        "ratio            1.10 a round, 1.25 in all",
    ]
