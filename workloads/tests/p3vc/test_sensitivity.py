from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p3vc.pixelise import Grid
from p3vc.sensitivity import Domain, Relation, block_sums_l1
from tests.p3vc.support import images


@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("pixels", [1, 2, 3, 9])
@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 1, 3)])
def test_derived_sensitivity_is_the_largest_change_of_any_neighbours(
    shape: tuple[int, int, int], pixels: int, block: int
) -> None:
    """Every image over the range's ends against every other: the bound holds and is met."""
    _, height, width = shape
    everything = np.array(list(itertools.product([0, 255], repeat=int(np.prod(shape)))), np.uint8).reshape(-1, *shape)
    sums = Grid(height, width, block).sums(everything)
    worst = 0
    for i in range(len(everything)):
        changed = (everything != everything[i]).any(axis=1).reshape(len(everything), -1).sum(axis=1)
        moved = np.abs(sums - sums[i]).reshape(len(everything), -1).sum(axis=1)
        worst = max(worst, int(moved[changed <= pixels].max()))
    assert worst == block_sums_l1(Relation(pixels), Domain(shape))


@settings(max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    block=st.integers(1, 9),
    pixels=st.integers(1, 20),
    seed=st.integers(0, 2**32),
)
def test_no_random_neighbours_exceed_it(shape: tuple[int, int, int], block: int, pixels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    first = images(1, shape, seed)
    second = first.copy()
    where = random.integers(0, shape[1] * shape[2], pixels)
    second.reshape(1, shape[0], -1)[:, :, where] = random.integers(0, 256, (1, shape[0], pixels))
    grid = Grid(shape[1], shape[2], block)
    assert np.abs(grid.sums(first) - grid.sums(second)).sum() <= block_sums_l1(Relation(pixels), Domain(shape))


def test_the_paper_sized_figures() -> None:
    """The table of DP-Pix sensitivities for 3x32x32, as block means in 0..1."""
    domain = Domain((3, 32, 32))
    assert block_sums_l1(Relation(1024), domain) / 255 / 64 == 48
    assert block_sums_l1(Relation(16), domain) / 255 / 64 == pytest.approx(3 * 16 / 64)
    assert block_sums_l1(Relation(10**6), domain) == block_sums_l1(Relation(1024), domain)
    assert block_sums_l1(Relation(1), Domain((3, 32, 32), 10, 20)) == 30


@settings(max_examples=60)
@given(height=st.integers(1, 40), width=st.integers(1, 40), block=st.integers(1, 40), channels=st.integers(1, 3))
def test_sums_and_images_by_the_definition(height: int, width: int, block: int, channels: int) -> None:
    grid = Grid(height, width, block)
    some = images(2, (channels, height, width))
    some[0] = 255
    sums, back = grid.sums(some), grid.image(grid.sums(some))
    assert back.shape == some.shape
    assert back.dtype == np.uint8
    for row, column in itertools.product(range(grid.rows), range(grid.columns)):
        cell = np.s_[:, :, row * block : (row + 1) * block, column * block : (column + 1) * block]
        assert (sums[:, :, row, column] == some[cell].sum(axis=(2, 3), dtype=np.int64)).all()
        assert grid.pixels[row, column] == some[cell].shape[2] * some[cell].shape[3]
        mean = some[cell].mean(axis=(2, 3), keepdims=True)
        assert (np.abs(back[cell] - mean) <= 0.5 + 1e-9).all()


def test_out_of_range_sums_are_clamped() -> None:
    grid = Grid(2, 2, 2)
    assert grid.image(np.array([[[[-5]]], [[[10**12]]]]))[:, 0, 0, 0].tolist() == [0, 255]
