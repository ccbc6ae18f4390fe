"""Settings of every test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine would fail a correct program by a deadline, or by how long it takes to make examples.
settings.register_profile("kubeflower", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kubeflower")


@pytest.fixture(scope="session", autouse=True)
def _own_lab() -> Iterator[None]:
    """Keep tests away from the lab of the person who runs them; a short name, because sockets have short paths."""
    folder = Path(tempfile.mkdtemp(prefix="kf-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBEFLOWER_LAB", str(folder))
        yield
    shutil.rmtree(folder, ignore_errors=True)
