from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.data import load, split
from federation.errors import DataError
from tests.federation.loopback import write_release

IMAGES = np.arange(6 * 8 * 8, dtype=np.uint8).reshape(6, 1, 8, 8)
LABELS = np.array([0, 1, 2, 3, 4, 9], np.int64)


def test_a_release_is_mapped_not_copied(tmp_path: Path) -> None:
    write_release(tmp_path, IMAGES, LABELS)
    release = load(tmp_path, 10)
    assert isinstance(release.images, np.memmap)
    assert (release.images == IMAGES).all()
    assert (release.epsilon, release.mechanism, len(release.manifest)) == ("0.7", "laplace", 64)


def damage_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"epsilon": "0.7"')


def strip_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"records": 6}')


def other_shape(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["arrays"]["images"]["shape"][0] = 7
    (folder / "manifest.json").write_text(json.dumps(manifest))


def truncate(folder: Path) -> None:
    data = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(data[:-10])


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda f: (f / "manifest.json").unlink(), "holds no complete release"),
        (damage_manifest, "not JSON"),
        (strip_manifest, "lacks arrays, epsilon, mechanism"),
        (other_shape, r"says images have shape \[7, 1, 8, 8\]"),
        (truncate, "not a NumPy array"),
        (lambda f: (f / "labels.npy").unlink(), "labels.npy: not found"),
        (lambda f: np.save(f / "images.npy", IMAGES.astype(np.float32)), "expected uint8"),
        (lambda f: np.save(f / "images.npy", IMAGES.reshape(3, 2, 8, 8)), "2 channels"),
        (lambda f: np.save(f / "labels.npy", LABELS[:3]), "one integer for each image"),
    ],
)
def test_what_is_not_a_release_is_refused(tmp_path: Path, break_it, says: str) -> None:  # type: ignore[no-untyped-def]
    write_release(tmp_path, IMAGES, LABELS)
    break_it(tmp_path)
    with pytest.raises(DataError, match=says):
        load(tmp_path, 10)


def test_labels_beyond_the_model_are_refused(tmp_path: Path) -> None:
    write_release(tmp_path, IMAGES, LABELS)
    with pytest.raises(DataError, match="labels 0 to 9: num-classes is 9"):
        load(tmp_path, 9)


def test_a_single_record_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path, IMAGES[:1], LABELS[:1])
    with pytest.raises(DataError, match="at least 2"):
        load(tmp_path, 10)


@given(st.integers(2, 500), st.floats(0.01, 0.99), st.integers(0, 2**31 - 1))
def test_a_split_is_a_seeded_partition(records: int, fraction: float, seed: int) -> None:
    parts = split(records, fraction, seed)
    assert sorted([*parts.train, *parts.test]) == list(range(records))
    assert len(parts.train) >= 1
    assert len(parts.test) >= 1
    assert abs(len(parts.train) - records * fraction) <= 1
    again = split(records, fraction, seed)
    assert (again.train == parts.train).all()
