from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .worker import Worker


@pytest.fixture(scope="package")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A network in namespaces of its own."""
    if os.geteuid() != 0:
        pytest.fail("network namespaces need root")
    with Worker(tmp_path_factory.mktemp("fabric-with-a-path-longer-than-a-unix-socket-address-may-be" * 2)) as running:
        yield running
