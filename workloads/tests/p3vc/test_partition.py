from __future__ import annotations

import numpy as np
import pytest

from contract.partition import Partitioner
from p3vc.partition import Partition
from tests.p3vc.support import Tool, save


def parts(
    partitioner: Partitioner, labels: np.ndarray, *, count: int = 5, seed: int = 1, alpha: float = 0.5, chunk: int = 0
) -> np.ndarray:
    """The part of each record, from every part's own view."""
    all_parts = [Partition.of(i, count, partitioner, alpha, seed) for i in range(count)]
    views = np.stack([p.members(chunk, labels, p.proportions(10)) for p in all_parts])
    assert (views.sum(axis=0) == 1).all()  # every record is in exactly one part
    return np.asarray(views.argmax(axis=0))


LABELS = np.arange(20_000) % 10


def test_iid_parts_are_even_and_blind_to_labels() -> None:
    got = parts("iid", LABELS)
    assert np.bincount(got).min() > 3800
    assert (got == parts("iid", LABELS[::-1].copy())).all()


def test_dirichlet_parts_are_skewed_by_label() -> None:
    table = np.array([np.bincount(parts("dirichlet", LABELS)[label == LABELS], minlength=5) for label in range(10)])
    assert (table.max(axis=1) > 2 * table.mean(axis=1)).mean() > 0.4
    even = np.array(
        [np.bincount(parts("dirichlet", LABELS, alpha=1e5)[label == LABELS], minlength=5) for label in range(10)]
    )
    assert even.min() > 300


@pytest.mark.parametrize("partitioner", ["iid", "dirichlet"])
def test_a_changed_label_moves_its_own_record_at_most(partitioner: Partitioner) -> None:
    changed = LABELS.copy()
    changed[77] = 3
    moved = parts(partitioner, LABELS) != parts(partitioner, changed)
    assert set(np.flatnonzero(moved)) <= {77}


def test_seeds_and_chunks_differ_and_repeat() -> None:
    assert (parts("iid", LABELS) == parts("iid", LABELS)).all()
    assert (parts("iid", LABELS) != parts("iid", LABELS, seed=2)).mean() > 0.5
    assert (parts("iid", LABELS) != parts("iid", LABELS, chunk=1)).mean() > 0.5
    families = {
        Partition.of(0, n, kind, a, s).family(10)
        for n in (2, 3)
        for kind in ("iid", "dirichlet")
        for a in (0.5, 1.0)
        for s in (1, 2)
    }
    assert len(families) == 12  # alpha says nothing about an iid split
    assert Partition.of(0, 3, "iid", 0.5, 1).family(10) == Partition.of(2, 3, "iid", 0.5, 1).family(10)


def test_pixels_decide_nothing(tool: Tool) -> None:
    for seed in (0, 1):
        save(tool.data, 400, seed=seed)
        tool.ledger = tool.folder / f"ledger{seed}"
        tool.register()
        more = ("--partition", "1/4", "--partitioner", "dirichlet", "--seed", "5")
        assert tool.release("a", "0.7", f"out{seed}", *more)[0] == 0
    first, second = (np.load(tool.folder / f"out{seed}" / "labels.npy") for seed in (0, 1))
    assert first.size > 0
    assert (first == second).all()


def test_a_dirichlet_split_of_private_labels_is_refused(tool: Tool) -> None:
    tool.register("--classes", "5")
    private = ("--labels", "private", "--label-epsilon", "0.1")
    code, _, err = tool.release("a", "0.7", "out", "--partition", "0/4", "--partitioner", "dirichlet", *private)
    assert (code, "iid" in err) == (2, True)
    assert tool.release("a", "0.7", "out", "--partition", "0/4", "--partitioner", "iid", *private)[0] == 0
