from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.ovn.trace import Oracle

from .worker import Worker


@pytest.fixture(scope="package")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A fabric in namespaces of its own."""
    if os.geteuid() != 0:
        pytest.fail("network namespaces need root")
    with Worker(tmp_path_factory.mktemp("fabric-with-a-path-longer-than-a-unix-socket-address-may-be" * 2)) as running:
        yield running


@pytest.fixture(scope="package")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """OVN's databases and ovn-trace."""
    assert shutil.which("ovn-trace"), "install ovn-central and ovn-host"
    folder: Path = tmp_path_factory.mktemp("oracle")
    with Oracle(folder) as running:
        yield running
