from __future__ import annotations

from testbed import bench


def test_the_testbed_that_is_measured_is_clean_and_counted() -> None:
    """``measure`` refuses a testbed with violations: its rules would take another time."""
    small, large = bench.measure(2), bench.measure(4)
    assert large.objects > small.objects
    assert str(large.objects) in bench.table([small, large])
