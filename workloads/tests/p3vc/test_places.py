"""What a command writes to lies apart from the raw data, the ledger and its seeds, whatever the path looks like."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy
from PIL import Image

from p3vc import output
from p3vc.cli import _parser
from tests.p3vc.support import Tool, images

GRANT = ("--grant", "0123456789ab", "--epsilon", "1", "--delta", "1e-6", "--rounds", "3", "--clipping-norm", "1")


def world(tool: Tool) -> None:
    """A raw folder, a ledger, links to both, and a second name of a raw file."""
    raw = tool.folder / "raw"
    raw.mkdir()
    tool.data.rename(raw / "raw.npz")
    tool.data = raw
    assert tool.register("--delta", "1e-5")[0] == 0
    (tool.folder / "to-raw").symlink_to("raw")
    (tool.folder / "to-ledger").symlink_to("ledger")
    (tool.folder / "above").symlink_to(".")
    os.link(raw / "raw.npz", tool.folder / "hard.npz")


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(tool: Tool, verb: str, *more: str) -> tuple[int, str, str]:
    where = ("--data", str(tool.data), "--ledger", str(tool.ledger))
    if verb == "register":
        return tool.run("register", *where, "--budget", "2", "--delta", "1e-5", *more)
    out = () if "--out" in more else ("--out", str(tool.folder / "out"))
    claim = ("--claim", "a", "--epsilon", "0.7", "--block", "4") if verb == "release" else ("--claim", "a", *GRANT)
    return tool.run(verb, *where, *out, *claim, *more)


LOGS = [
    "raw/raw.npz", "raw/new", "to-raw/new", "to-raw/raw.npz", "ledger/key", "ledger/new", "to-ledger/key",
    "above/ledger/key", "raw/../ledger/key", "ledger.seeds/new", "hard.npz", "ledger", "raw",
]  # fmt: skip


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("verb", ["register", "release", "grant"])
def test_a_record_is_written_over_nothing_that_counts(tool: Tool, verb: str, log: str) -> None:
    world(tool)
    before = content(tool.folder)
    code, _, err = command(tool, verb, "--termination-log", str(tool.folder / log))
    assert (code, err.count("\n")) == (2, 1)
    assert f"--termination-log {tool.folder / log}: " in err
    assert content(tool.folder) == before


@pytest.mark.parametrize("out", ["raw", "raw/out", "to-raw", "to-raw/out", "ledger/out", "ledger.seeds", "above", "."])
@pytest.mark.parametrize("verb", ["release", "grant"])
def test_an_output_lies_on_nothing_that_counts(tool: Tool, verb: str, out: str) -> None:
    world(tool)
    before = content(tool.folder)
    code, _, err = command(tool, verb, "--out", str(tool.folder / out))
    assert (code, f"--out {tool.folder / out}: must lie apart" in err) == (2, True)
    assert content(tool.folder) == before


@pytest.mark.parametrize("verb", ["release", "grant"])
def test_where_it_does_no_harm_the_record_says_why(tool: Tool, verb: str) -> None:
    world(tool)
    log = tool.folder / "log"
    command(tool, verb, "--out", str(tool.ledger / "out"), "--termination-log", str(log))
    assert "must lie apart from --ledger" in log.read_text()


@pytest.mark.parametrize("seeds", ["ledger", "ledger/seeds", "to-ledger/x", "raw/seeds", "out", "out/x", "."])
def test_seeds_lie_in_nothing_that_is_kept_or_published(tool: Tool, seeds: str) -> None:
    world(tool)
    before = content(tool.folder)
    code, _, err = command(tool, "release", "--seeds", str(tool.folder / seeds))
    assert (code, "must lie apart" in err, f"{tool.folder / seeds}" in err) == (2, True, True)
    assert content(tool.folder) == before


def test_a_ledger_within_the_data_would_be_data(tool: Tool) -> None:
    world(tool)
    tool.ledger = tool.data / "ledger"
    code, _, err = tool.register()
    assert (code, "--ledger" in err, "must lie apart from --data" in err) == (2, True, True)
    assert not tool.ledger.exists()


@pytest.mark.parametrize("name", ["images.npy", "manifest.json", "training.json"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_nothing_is_written_through_a_link_in_the_output(
    tool: Tool, name: str, link: Callable[[Path, Path], None]
) -> None:
    world(tool)
    target = tool.data / "raw.npz"
    before = content(tool.data)
    if name == "training.json":
        assert command(tool, "release")[0] == 0  # which a grant belongs to
    (tool.folder / "out").mkdir(exist_ok=True)
    for one in (name, f".{name}.partial"):
        link(target, tool.folder / "out" / one)
    done = command(tool, "grant", "--claim", "t") if name == "training.json" else command(tool, "release")
    assert done[0] == 0
    assert content(tool.data) == before
    assert not (tool.folder / "out" / name).samefile(target)


def test_a_dataset_to_try_is_written_over_nothing(tool: Tool) -> None:
    world(tool)
    before = content(tool.folder)
    for out in ("raw/raw.npz", "ledger/key", "ledger/new.npz", "to-ledger/new.npz"):
        code, _, err = tool.run("dataset", "synthetic", "--out", str(tool.folder / out), "--count", "2")
        assert (code, f"--out {tool.folder / out}: " in err) == (2, True)
    assert content(tool.folder) == before


def test_every_path_that_a_command_takes_is_compared() -> None:
    """A new option with a path is named here once it is compared, or known to be read only."""
    compared = {"out", "termination_log", "seeds", "ledger", "data"}
    (commands,) = [action.choices for action in _parser()._actions if isinstance(action.choices, dict)]
    found = {action.dest for parser in commands.values() for action in parser._actions if action.type is Path}
    assert found == compared | {"release"}  # of verify, which reads it


@pytest.mark.parametrize("delta", ["0.02", "0.5"])
def test_a_delta_that_would_show_a_record_is_refused_under_basic_too(tool: Tool, delta: str) -> None:
    code, _, err = tool.register("--delta", delta)
    assert (code, "1/50" in err) == (2, True)
    assert list(tool.ledger.glob("*.jsonl")) == []
    assert tool.register("--delta", "0.0199")[0] == 0


def test_a_record_that_is_too_large_takes_no_memory(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (1, 1, 8192, 8200)
    with zipfile.ZipFile(tool.data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("images.npy", "w") as file:
            npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for _ in range(8200):
                file.write(bytes(8192))
        with archive.open("labels.npy", "w") as file:
            npy.write_array(file, np.zeros(1, np.int64))
    monkeypatch.setattr(zipfile.ZipExtFile, "read", watched(zipfile.ZipExtFile.read))
    code, _, err = tool.register()
    assert (code, "a record of 1x8192x8200 has 67174400 bytes; at most 67108864" in err) == (2, True)
    assert not tool.ledger.exists()


def watched(real: Callable[..., bytes]) -> Callable[..., bytes]:
    def read(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        assert n is not None
        assert 0 <= n < 2**20
        return real(self, n)

    return read


def test_an_image_that_is_too_large_is_not_decoded(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    (tool.folder / "images" / "a").mkdir(parents=True)
    tool.data = tool.folder / "images"
    Image.fromarray(images(1, (3, 8, 8))[0].transpose(1, 2, 0)).save(tool.data / "a" / "0.png")
    Image.new("RGB", (4800, 4700)).save(tool.data / "a" / "1.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", small_only(Image.Image.load))
    code, _, err = tool.register()
    assert (code, "1.png: a record of 3x4700x4800 has 67680000 bytes" in err) == (2, True)
    code, _, err = tool.register("--shape", "3x32768x32768")
    assert (code, "--shape 3x32768x32768: a record" in err) == (2, True)


def small_only(_: object) -> Callable[..., object]:
    from PIL import ImageFile

    real = ImageFile.ImageFile.load

    def load(self: ImageFile.ImageFile) -> object:
        assert self.size == (8, 8)
        return real(self)

    return load


def test_the_parts_of_an_output_that_is_made_are_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".images.npy.partial").symlink_to("precious")
    with output.Output(tmp_path, (1, 2, 2)):
        assert not (tmp_path / ".images.npy.partial").is_symlink()
    assert (tmp_path / "precious").read_text() == "kept"
