from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # as in a pod of one CPU; weights depend on the number of threads
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
sys.path.append(str(Path(__file__).parents[3]))  # testbed/, which declares the argv

Parts = dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]


@pytest.fixture(scope="session")
def digits() -> Callable[[int, int], Parts]:
    """Return a function (clients, records each) → real digits by client."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)

    def parts(clients: int, records: int) -> Parts:
        rows = {f"c{i}": np.arange(i, i + clients * records, clients) for i in range(clients)}
        return {client: (images[r], labels[r]) for client, r in rows.items()}

    return parts
