"""How a comparison's runs are ordered and summed up; the runs themselves are `make bench`."""

from __future__ import annotations

import pytest

from lab.overhead import LAB, OURS, PLAIN, Run, order, table


@pytest.mark.parametrize("passes", [2, 4])
def test_neither_is_favoured_by_a_machine_that_slows_down(passes: int) -> None:
    when = {kind: [at for at, one in enumerate(order(passes)) if one == kind] for kind in (LAB, PLAIN, OURS)}
    assert [len(at) for at in when.values()] == [passes] * 3
    assert sum(when[LAB]) == sum(when[PLAIN]) == sum(when[OURS])
    assert order(passes)[0] == LAB  # the lab makes the releases that both learn from


def test_the_ratio_is_of_the_means() -> None:
    summary = {"rounds": [{"seconds": 4.0}, {"seconds": 6.0}], "seconds": 13.0}
    runs = {
        PLAIN: [Run.of(summary), Run((5.0, 5.0), 15.0)],
        OURS: [Run((2.0, 3.0), 7.0)],
        LAB: [Run((6.0, 5.0), 14.0), Run((5.5, 5.5), 21.0)],
    }
    plain, ours, lab = table(runs).splitlines()
    assert "5.00 s a round (standard deviation 0.82 s),   14.0 s in all (13.0, 15.0): 1.00 and 1.00 of" in plain
    assert "2.50 s a round (standard deviation 0.71 s),    7.0 s in all (7.0): 0.50 and 0.50 of" in ours
    assert "5.50 s a round (standard deviation 0.41 s),   17.5 s in all (14.0, 21.0): 1.10 and 1.25 of" in lab
