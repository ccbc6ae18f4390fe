"""Kills a release, a grant or a registration at every system call that changes the disk; says what was left each time.

It also copies the ledger at every such call of a release, and says whether the copies undo the release's noise.

Run as a program: each attempt is a fork of this single-threaded process, so hundreds take seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from p3vc import cli
from p3vc.formats import Npz
from p3vc.keystream import Keystream
from p3vc.mechanisms import build
from p3vc.sampler import geometric
from p3vc.sensitivity import Domain

CALLS = ["open", "write", "pwrite", "fsync", "ftruncate", "fchmod", "replace", "unlink", "mkdir"]
DIED = 77


class Countdown:
    """Ends the process at the n-th call: before it takes effect, or half-way through a write."""

    def __init__(self, left: int) -> None:
        self.left = left

    def arm(self, target: Any, name: str, *, torn: bool) -> None:
        real = getattr(target, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                if torn:
                    real(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                os._exit(DIED)
            return real(*args, **kwargs)

        setattr(target, name, wrapped)


def attempt(folder: Path, argv: list[str], at: int | None) -> int:
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        if at is not None:
            countdown = Countdown(at)
            for name in CALLS:
                countdown.arm(os, name, torn=name in ("write", "pwrite"))
            real = Npz.pieces

            def watched(self: Npz, size: int) -> Any:
                Path("was-read").touch()
                return real(self, size)

            Npz.pieces = watched  # type: ignore[method-assign]
        code = 99
        try:
            code = cli.main(argv)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ledger(folder: Path) -> dict[str, Any]:
    from p3vc.ledger import Ledger

    accounts = Ledger(folder / "L").accounts()
    if not accounts:
        return {}
    (account,) = accounts.values()
    return {"spent": str(account.spent), "claims": {name: claim.status for name, claim in account.claims.items()}}


class Backups:
    """Every file that the ledger's folder held before or after any call: what any backup of it may hold."""

    def __init__(self) -> None:
        self.taken: set[bytes] = set()

    def take(self) -> None:
        for path in Path("L").rglob("*"):
            if path.is_file():
                self.taken.add(path.read_bytes())

    def arm(self, target: Any, name: str) -> None:
        real = getattr(target, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.take()
            result = real(*args, **kwargs)
            self.take()
            return result

        setattr(target, name, wrapped)


def backed_up(folder: Path, argv: list[str], noise: Callable[[bytes], bytes]) -> dict[str, Any]:
    """Run a release while its ledger is copied at every call, then try whatever the copies hold as the seed.

    Args:
        folder: holds the registered ledger ``L``.
        argv: of the release, into ``O``.
        noise: makes the released pixels from the raw data and a seed.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        backups = Backups()
        with os.fdopen(writer, "w") as told:
            calls = [(name, getattr(os, name)) for name in CALLS]
            for name in CALLS:
                backups.arm(os, name)
            code = cli.main(argv)
            for name, real in calls:
                setattr(os, name, real)
            json.dump([code, [one.hex() for one in backups.taken]], told)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        code, copies = json.load(told)
    os.waitpid(child, 0)
    held = [bytes.fromhex(one) for one in copies]
    text = b"\n".join(held).decode("latin-1")
    tried = {one[i : i + 32] for one in held for i in range(len(one) - 31)}
    tried |= {bytes.fromhex(one) for one in re.findall(r"(?=([0-9a-f]{64}))", text)}
    tried |= {hashlib.sha256(one).digest() for one in tried}
    manifest = json.loads((folder / "O" / "manifest.json").read_text())
    released = (folder / "O" / "images.npy").read_bytes()[128:]
    found = [one for one in tried if hashlib.sha256(one).hexdigest() == manifest["seed_sha256"]]
    return {
        "code": code,
        "copies": len(held),
        "tried": len(tried),
        "undone": [noise(one) == released[: len(noise(one))] for one in found],
    }


def every_call(work: Path, argv: list[str], prepare: Callable[[Path], None]) -> list[dict[str, Any]]:
    """Crash at call 1, 2, … until the command completes; after each, record what is left and run it again."""
    results = []
    for at in range(1, 1000):
        folder = work / f"{argv[0]}-{at}"
        folder.mkdir()
        prepare(folder)
        code = attempt(folder, argv, at)
        partial = folder / "O" / ".images.npy.partial"
        granted = folder / "O" / "training.json"
        shown = partial if partial.exists() else folder / "O" / "images.npy"
        pixels = shown.read_bytes()[128:] if shown.exists() else b""
        result: dict[str, Any] = {
            "at": at,
            "code": code,
            "read": (folder / "was-read").exists(),
            "manifest": (folder / "O" / "manifest.json").exists(),
            "granted": granted.read_text() if granted.exists() else None,
            "left": ledger(folder) if (folder / "L").exists() else {},
        }
        result["verified"] = attempt(folder, ["verify", "--release", "O"], None) if result["manifest"] else None
        result["again"] = attempt(folder, argv, None)
        result["error"] = (folder / "stderr").read_text()
        result["after"] = ledger(folder)
        if argv[0] == "release":
            final = (folder / "O" / "images.npy").read_bytes()[128:]
            result["shown_bytes"] = len(pixels)
            result["same_noise"] = final.startswith(pixels)
            result["leftovers"] = sorted(p.name for p in (folder / "O").iterdir() if p.name.endswith(".partial"))
            result["seeds"] = [p.name for p in (folder / "L.seeds").iterdir() if p.name != "CACHEDIR.TAG"]
        if argv[0] == "grant":
            result["final"] = granted.read_text()
        results.append(result)
        shutil.rmtree(folder)
        if code != DIED:
            return results
    raise SystemExit("the command never completed")


def main(work: Path) -> None:
    geometric(Fraction(255 * 9) / Fraction("0.6"))  # the tables are built once and inherited
    data = work / "data.npz"
    images = np.random.default_rng(1).integers(0, 256, (24, 1, 300, 300), dtype=np.uint8)  # three batches
    np.savez(data, images=images, labels=np.arange(24) % 3)
    register = ["register", "--data", str(data), "--ledger", "L", "--budget", "1", "--delta", "1e-5", "--workers", "1"]
    release = ["release", "--data", str(data), "--out", "O", "--ledger", "L", "--claim", "a", "--epsilon", "0.6"]
    release += ["--block", "100", "--neighbourhood", "9", "--workers", "1"]

    grant = ["grant", "--data", str(data), "--out", "O", "--ledger", "L", "--claim", "t", "--grant", "0123456789ab"]
    grant += ["--epsilon", "0.6", "--delta", "1e-6", "--rounds", "3", "--clipping-norm", "1.0"]

    def registered(folder: Path) -> None:
        assert attempt(folder, register, None) == 0

    def released(folder: Path) -> None:
        registered(folder)
        assert attempt(folder, [*release, "--epsilon", "0.3"], None) == 0

    def noise(seed: bytes) -> bytes:
        mechanism = build("laplace", Decimal("0.6"), 100, 9, Domain((1, 300, 300)))
        return mechanism.release(images[:11], Keystream(seed, "pixels", 0)).tobytes()  # the first batch

    backup = work / "backup"
    backup.mkdir()
    registered(backup)
    found: dict[str, Any] = {
        "backup": backed_up(backup, release, noise),
        "register": every_call(work, register, lambda _: None),
        "release": every_call(work, release, registered),
        "grant": every_call(work, grant, released),
    }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
