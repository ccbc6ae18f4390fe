"""Speed of a release against the paper's per-item recipe, on the same images in one run; ratios, not absolutes."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from p3vc import datasets, mechanisms
from p3vc.account import Terms
from p3vc.dataset import batch_records
from p3vc.formats import open_source
from p3vc.keystream import Keystream
from p3vc.mechanisms import paper_recipe
from p3vc.pipeline import cores
from p3vc.register import Declared, register
from p3vc.release import release
from p3vc.request import Request
from p3vc.sensitivity import Domain

_SHAPE, _BLOCK, _NEIGHBOURHOOD, _EPSILON = (3, 32, 32), 8, 16, Decimal("0.7")
_REPEATS = 3
_OPENDP_IMAGES = 2000


def bench(count: int) -> dict[str, Any]:
    """Return images a second of each way to release ``count`` synthetic images of 3x32x32 at b = 8, and the ratios."""
    with tempfile.TemporaryDirectory(prefix="p3vc-bench-") as name:
        folder = Path(name)
        data = folder / "images.npz"
        datasets.synthetic(data, count, _SHAPE)
        source = open_source(data)
        size = batch_records(_SHAPE)
        images = np.concatenate([batch.images for batch in source.batches(size)])
        ledger = folder / "ledger"
        register(data, "auto", ledger, Terms(Decimal(1000), "basic", None, "refuse"), Declared())
        number = 0

        def whole(mechanism: str, workers: int) -> Callable[[], object]:
            def run() -> object:
                nonlocal number
                number += 1
                request = Request(f"bench-{number}", mechanism, _EPSILON, _BLOCK, _NEIGHBOURHOOD)
                return release(data, "auto", folder / "out", ledger, request, workers=workers)

            return run

        def arithmetic(mechanism: str) -> Callable[[], object]:
            built = mechanisms.build(mechanism, _EPSILON, _BLOCK, _NEIGHBOURHOOD, Domain(_SHAPE))
            target = np.empty_like(images)

            def run() -> object:
                for number, start in enumerate(range(0, count, size)):
                    part = images[start : start + size]
                    target[start : start + size] = built.release(part, Keystream(bytes(32), "bench", number))
                return target

            return run

        rates = {
            "paper_loop": count / _seconds(lambda: _paper_loop(images), 1),
            "opendp_per_vector": _OPENDP_IMAGES / _seconds(lambda: _opendp(images[:_OPENDP_IMAGES]), 1),
            "laplace_arithmetic": count / _seconds(arithmetic("laplace")),
            "laplace_1_core": count / _seconds(whole("laplace", 1)),
            "laplace_2_cores": count / _seconds(whole("laplace", 2)),
            "exponential_1_core": count / _seconds(whole("exponential", 1)),
        }
        bandwidth = _bandwidth()
        hashing = _seconds(lambda: _hash_at_once(1)) * 2 / _seconds(lambda: _hash_at_once(2))
    moved = 2 * int(np.prod(_SHAPE))  # every pixel is read once and written once
    return {
        "images": count,
        "cores": cores(),
        "images_per_second": {key: round(rate) for key, rate in rates.items()},
        "laplace_over_paper": round(rates["laplace_1_core"] / rates["paper_loop"], 2),
        "exponential_over_paper": round(rates["exponential_1_core"] / rates["paper_loop"], 2),
        "laplace_over_opendp": round(rates["laplace_1_core"] / rates["opendp_per_vector"], 1),
        "two_cores_over_one": round(rates["laplace_2_cores"] / rates["laplace_1_core"], 2),
        "machine_two_over_one": round(hashing, 2),  # what two threads gain here on work with nothing in common
        "memory_bandwidth_share": {
            "copy_gigabytes_per_second": round(bandwidth / 1e9, 2),
            "arithmetic": round(rates["laplace_arithmetic"] * moved / bandwidth, 3),
            "release_1_core": round(rates["laplace_1_core"] * moved / bandwidth, 3),
        },
    }


def bench_text(record: dict[str, Any]) -> str:
    """Return the result for a person."""
    head = f"{record['images']} images of 3x32x32, b = {_BLOCK}, {record['cores']} cores; releases hash and write files"
    lines = [head, *(f"  {key:20} {rate:>10,} images/s" for key, rate in record["images_per_second"].items())]
    lines += [f"  {key:24} {record[key]}" for key in record if key.count("_over_")]
    share = record["memory_bandwidth_share"]
    lines.append(
        f"  share of one core's copy bandwidth ({share['copy_gigabytes_per_second']} GB/s): arithmetic "
        f"{share['arithmetic']:.0%}, whole release {share['release_1_core']:.0%}"
    )
    return "\n".join(lines)


def _seconds(work: Callable[[], object], repeats: int = _REPEATS) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _paper_loop(images: np.ndarray[Any, np.dtype[np.uint8]]) -> list[Any]:
    random = np.random.Generator(np.random.PCG64(0))
    return [paper_recipe(image / 255, float(1 / _EPSILON), random).astype(np.float32) for image in images]


def _opendp(images: np.ndarray[Any, np.dtype[np.uint8]]) -> list[Any]:
    """Release each image's block sums by one call of OpenDP, as its documentation shows."""
    import opendp.prelude as dp  # noqa: PLC0415 - two seconds of imports

    dp.enable_features("contrib")
    built = mechanisms.build("laplace", _EPSILON, _BLOCK, _NEIGHBOURHOOD, Domain(_SHAPE))
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    measurement = dp.m.make_laplace(*space, scale=float(built.scale))
    blocks = images.reshape(-1, 3, 4, _BLOCK, 4, _BLOCK).sum(axis=(3, 5), dtype=np.int64)
    return [measurement(sums.ravel().tolist()) for sums in blocks]


def _hash_at_once(threads: int) -> None:
    block = bytes(1 << 20)

    def work(_: int) -> None:
        for _ in range(400):
            hashlib.sha256(block).digest()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def _bandwidth() -> float:
    """Return the bytes a second that one core moves when it copies, counting those read and those written."""
    source = np.ones(1 << 28, np.uint8)
    target = np.empty_like(source)
    return 2 * source.size / _seconds(lambda: np.copyto(target, source))
