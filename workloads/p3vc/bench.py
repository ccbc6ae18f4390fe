"""Speed of a release against the paper's per-item recipe, on the same images in one run; ratios, not absolutes.

Another load on the machine, or its clock, changes from second to second. So the ways are run in turns, each time in
the other direction, and a ratio is the median of those within a turn.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from p3vc import datasets, mechanisms
from p3vc.account import Terms
from p3vc.dataset import batch_records
from p3vc.formats import open_source
from p3vc.keystream import Keystream
from p3vc.mechanisms import paper_recipe
from p3vc.output import verify
from p3vc.pipeline import cores
from p3vc.register import Declared, register
from p3vc.release import release
from p3vc.request import Request
from p3vc.sensitivity import Domain

_SHAPE, _BLOCK, _NEIGHBOURHOOD, _EPSILON = (3, 32, 32), 8, 16, Decimal("0.7")
_TURNS = 7
_TIMES = 4  # what starting and ending costs is a smaller share of a large release
_MEMORY = Path("/dev/shm")  # noqa: S108 - a disk is as fast for one core as for two
_OPENDP_IMAGES = 500
_COPY_BYTES, _COPIES = 1 << 27, 8
Way = tuple[int, Callable[[], float]]  # images or bytes, and the seconds that they take


def bench(count: int) -> dict[str, Any]:
    """Return images a second of each way to release ``count`` synthetic images of 3x32x32 at b = 8, and the ratios."""
    usable = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 3 * count * int(np.prod(_SHAPE))
    memory = _MEMORY if usable else Path(tempfile.gettempdir())
    prefix = "p3vc-bench-"
    with (
        tempfile.TemporaryDirectory(prefix=prefix) as name,
        tempfile.TemporaryDirectory(prefix=prefix, dir=memory) as fast,
    ):
        folder = Path(name)
        data = folder / "images.npz"
        laplace, exponential = (_Releases(data, count, name) for name in ("laplace", "exponential"))
        images = _mapped(data, folder / "images.npy", count)
        large = _Releases(folder / "large.npz", _TIMES * count, "laplace")
        undisked = _Releases(Path(fast) / "images.npz", count, "laplace")
        hashing = partial(_each_batch, images, _hash)
        ways: dict[str, Way] = {
            "paper_loop": (count, lambda: _at_once(1, lambda: partial(_paper_loop, images))),
            "opendp_per_vector": (_OPENDP_IMAGES, lambda: _at_once(1, partial(_opendp, images[:_OPENDP_IMAGES]))),
            "laplace_arithmetic": (count, lambda: _at_once(1, lambda: partial(_each_batch, images, _ignore))),
            "laplace_1_core": (count, lambda: laplace.seconds(1)),
            "laplace_2_cores": (count, lambda: laplace.seconds(2)),
            "memory_1_core": (count, lambda: undisked.seconds(1)),
            "memory_2_cores": (count, lambda: undisked.seconds(2)),
            "large_1_core": (_TIMES * count, lambda: large.seconds(1)),
            "large_2_cores": (_TIMES * count, lambda: large.seconds(2)),
            "exponential_1_core": (count, lambda: exponential.seconds(1)),
            "verify_1_core": (count, lambda: _seconds(lambda: verify(laplace.out, workers=1))),
            "verify_2_cores": (count, lambda: _seconds(lambda: verify(laplace.out, workers=2))),
            "in_memory_1_process": (count, lambda: _at_once(1, lambda: hashing)),
            "in_memory_2_processes": (2 * count, lambda: _at_once(2, lambda: hashing)),
            "copy_1_process": (_COPIES * _COPY_BYTES, lambda: _at_once(1, _copy)),
            "copy_2_processes": (2 * _COPIES * _COPY_BYTES, lambda: _at_once(2, _copy)),
        }
        turns = [_turn(ways, backwards=bool(number % 2)) for number in range(_TURNS)]

    def ratio(above: str, below: str) -> float:
        return median(turn[above] / turn[below] for turn in turns)

    def share(way: str, copy: str) -> float:
        # Every pixel is read once and written once at least, as a copy reads and writes every byte.
        return round(ratio(way, copy) * int(np.prod(_SHAPE)), 3)

    rates = {way: median(turn[way] for turn in turns) for way in ways}
    return {
        "images": count,
        "cores": cores(),
        "turns": _TURNS,
        "images_per_second": {way: round(rate) for way, rate in rates.items() if not way.startswith("copy")},
        "laplace_over_paper": round(ratio("laplace_1_core", "paper_loop"), 2),
        "exponential_over_paper": round(ratio("exponential_1_core", "paper_loop"), 2),
        "laplace_over_opendp": round(ratio("laplace_1_core", "opendp_per_vector"), 1),
        "large": _TIMES * count,
        "memory": str(memory),
        "two_cores_over_one": round(ratio("laplace_2_cores", "laplace_1_core"), 2),
        "memory_two_cores_over_one": round(ratio("memory_2_cores", "memory_1_core"), 2),
        "large_two_cores_over_one": round(ratio("large_2_cores", "large_1_core"), 2),
        "verify_two_over_one": round(ratio("verify_2_cores", "verify_1_core"), 2),
        "machine_two_over_one": round(ratio("in_memory_2_processes", "in_memory_1_process"), 2),
        "memory_bandwidth_share": {
            "copy_1_process_gigabytes_per_second": round(2 * rates["copy_1_process"] / 1e9, 2),
            "copy_2_processes_gigabytes_per_second": round(2 * rates["copy_2_processes"] / 1e9, 2),
            "arithmetic_1_core": share("laplace_arithmetic", "copy_1_process"),
            "release_1_core": share("laplace_1_core", "copy_1_process"),
            "release_2_cores": share("laplace_2_cores", "copy_2_processes"),
        },
    }


def bench_text(record: dict[str, Any]) -> str:
    """Return the result for a person."""
    head = (
        f"{record['images']} images of 3x32x32, b = {_BLOCK}, {record['cores']} cores, medians of {record['turns']} "
        f"turns; releases hash, write and sync files; large is laplace on {record['large']} images, "
        f"memory is laplace with its files in {record['memory']}"
    )
    lines = [head, *(f"  {key:22} {rate:>10,} images/s" for key, rate in record["images_per_second"].items())]
    lines += [f"  {key:24} {record[key]}" for key in record if key.count("_over_")]
    share = record["memory_bandwidth_share"]
    lines.append(
        f"  share of the bandwidth of a copy ({share['copy_1_process_gigabytes_per_second']} GB/s in one process, "
        f"{share['copy_2_processes_gigabytes_per_second']} in two): arithmetic {share['arithmetic_1_core']:.0%}, whole "
        f"release {share['release_1_core']:.0%} on one core, {share['release_2_cores']:.0%} on two"
    )
    lines.append("  in_memory is a release's arithmetic and hashes without its files: what the machine itself gives")
    return "\n".join(lines)


def _mapped(data: Path, place: Path, count: int) -> NDArray[np.uint8]:
    """Return the images where they are no part of this process, which is to be as small as that of a release."""
    images = npy.open_memmap(place, "w+", np.uint8, (count, *_SHAPE))
    size = batch_records(_SHAPE)
    for number, batch in enumerate(open_source(data).batches(size)):
        images[number * size : (number + 1) * size] = batch.images
    mapped: NDArray[np.uint8] = images
    return mapped


def _turn(ways: dict[str, Way], *, backwards: bool) -> dict[str, float]:
    names = list(reversed(ways)) if backwards else list(ways)
    return {name: ways[name][0] / ways[name][1]() for name in names}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class _Releases:
    """Whole releases of one synthetic dataset, each a claim of its own into an empty folder."""

    def __init__(self, data: Path, count: int, mechanism: str) -> None:
        self._data, self._mechanism = data, mechanism
        self._ledger, self.out = data.with_suffix(".ledger"), data.with_suffix(f".{mechanism}")
        if not data.exists():
            datasets.synthetic(data, count, _SHAPE)
        register(data, "auto", self._ledger, Terms(Decimal(1000), "basic", None, "refuse"), Declared())

    def seconds(self, given: int) -> float:
        """Return the seconds of a release by a process that is given so many cores."""
        shutil.rmtree(self.out, ignore_errors=True)
        claim = f"{self._mechanism}-{time.monotonic_ns()}"
        request = Request(claim, self._mechanism, _EPSILON, _BLOCK, _NEIGHBOURHOOD)
        every = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(every)[:given])
        try:
            return _seconds(lambda: release(self._data, "auto", self.out, self._ledger, request))
        finally:
            os.sched_setaffinity(0, every)


def _each_batch(images: NDArray[np.uint8], look: Callable[[NDArray[np.uint8]], object]) -> None:
    """Release batch by batch in memory, looking at what goes in and at what comes out."""
    mechanism = mechanisms.build("laplace", _EPSILON, _BLOCK, _NEIGHBOURHOOD, Domain(_SHAPE))
    size = batch_records(_SHAPE)
    for number, start in enumerate(range(0, len(images), size)):
        batch = images[start : start + size]
        look(batch)
        look(mechanism.release(batch, Keystream(bytes(32), "bench", number)))


def _ignore(_: NDArray[np.uint8]) -> None:
    pass


def _hash(batch: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(batch.data).digest()


def _paper_loop(images: NDArray[np.uint8]) -> list[Any]:
    random = np.random.Generator(np.random.PCG64(0))
    return [paper_recipe(image / 255, float(1 / _EPSILON), random).astype(np.float32) for image in images]


def _opendp(images: NDArray[np.uint8]) -> Callable[[], object]:
    """Release each image's block sums by one call of OpenDP, as its documentation shows."""
    import opendp.prelude as dp  # noqa: PLC0415 - two seconds, and much memory for a release to fork

    dp.enable_features("contrib")
    built = mechanisms.build("laplace", _EPSILON, _BLOCK, _NEIGHBOURHOOD, Domain(_SHAPE))
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    measurement = dp.m.make_laplace(*space, scale=float(built.scale))

    def work() -> list[Any]:
        blocks = images.reshape(-1, 3, 4, _BLOCK, 4, _BLOCK).sum(axis=(3, 5), dtype=np.int64)
        return [measurement(sums.ravel().tolist()) for sums in blocks]

    return work


def _copy() -> Callable[[], None]:
    source, target = np.ones(_COPY_BYTES, np.uint8), np.ones(_COPY_BYTES, np.uint8)

    def work() -> None:
        for _ in range(_COPIES):
            np.copyto(target, source)

    return work


def _at_once(processes: int, prepare: Callable[[], Callable[[], object]]) -> float:
    """Return the seconds from the first start to the last end of the same work in processes of their own."""
    context = multiprocessing.get_context("fork")
    ready, times = context.Barrier(processes), context.SimpleQueue()

    def run() -> None:
        work = prepare()
        ready.wait()
        start = time.monotonic()
        work()
        times.put((start, time.monotonic()))

    started = [context.Process(target=run) for _ in range(processes)]
    for process in started:
        process.start()
    spans = [times.get() for _ in started]
    for process in started:
        process.join()
    return float(max(end for _, end in spans) - min(start for start, _ in spans))
