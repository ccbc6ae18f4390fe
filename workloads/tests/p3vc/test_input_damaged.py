"""Damaged and doctored files: one clear line and exit code 2, whatever the libraries below raise."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from contract.files import MANIFEST
from p3vc import output
from p3vc.errors import BadInputError
from tests.p3vc.support import Tool

GOOD = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 4, 4), }"
HEADERS = {
    "unclosed": "{'descr': (",
    "unhashable": "{[]: 1}",
    "truth": GOOD.replace("(2, 1,", "(2, True,"),
    "negative": GOOD.replace("(2, 1, 4, 4)", "(2, -4, -4, 1)"),
    "long": "-" * 20_000 + "1",
}


def npy(header: str, elements: bytes = bytes(32)) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + elements


def archive(path: Path, header: str = GOOD, compression: int = zipfile.ZIP_STORED) -> Path:
    labels = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", bytes(2))
    with zipfile.ZipFile(path, "w", compression) as made:
        made.writestr("images.npy", npy(header))
        made.writestr("labels.npy", labels)
    return path


def patch(path: Path, local: int, central: int, value: int) -> None:
    """Change a field of the first member in both of an archive's headers."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.find(b"PK\x03\x04") + local, value)
    struct.pack_into("<H", data, data.find(b"PK\x01\x02") + central, value)
    path.write_bytes(data)


def refused(tool: Tool, *says: str) -> None:
    code, out, err = tool.register()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert all(word in err for word in (str(tool.data), *says)), err
    assert len(err) < 600


def test_a_whole_archive_registers(tool: Tool) -> None:
    archive(tool.data)
    assert tool.register()[0] == 0


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_doctored_header_is_refused(tool: Tool, header: str, compression: int) -> None:
    archive(tool.data, HEADERS[header], compression)
    refused(tool, "header")


def test_an_encrypted_member_is_refused(tool: Tool) -> None:
    patch(archive(tool.data), 6, 8, 1)
    refused(tool, "encrypted")


def test_an_unknown_compression_is_refused(tool: Tool) -> None:
    patch(archive(tool.data), 8, 10, 99)
    refused(tool, "compression")


def test_damaged_lzma_is_refused(tool: Tool) -> None:
    data = bytearray(archive(tool.data, compression=zipfile.ZIP_LZMA).read_bytes())
    start = data.find(b"images.npy") + 19
    data[start : start + 31] = bytes(byte ^ 0x5A for byte in data[start : start + 31])
    tool.data.write_bytes(data)
    refused(tool)


def released(folder: Path) -> Path:
    with output.Output(folder, (1, 4, 4)) as made:
        made.append(np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, np.int64))
        made.publish({"claim": "a", "statement": "s"})
    return folder


@pytest.mark.parametrize("header", HEADERS)
def test_a_release_with_a_doctored_header_does_not_verify(tool: Tool, header: str) -> None:
    path = released(tool.folder / "out") / "images.npy"
    path.write_bytes(npy(HEADERS[header]))
    code, _, err = tool.run("verify", "--release", str(path.parent))
    assert (code, err.count("\n")) == (2, 1)
    assert str(path) in err


@pytest.mark.parametrize("how", ["deep", "no statement", "a number for a statement", "pairs"])
def test_a_doctored_manifest_does_not_verify(tool: Tool, how: str) -> None:
    path = released(tool.folder / "out") / MANIFEST
    manifest = json.loads(path.read_text())
    if how == "no statement":
        del manifest["statement"]
    elif how == "pairs":
        manifest["arrays"]["images"] = list(manifest["arrays"]["images"].items())
    else:
        manifest["statement"] = 5
    path.write_text("[" * 100_000 if how == "deep" else json.dumps(manifest))
    code, _, err = tool.run("verify", "--release", str(path.parent))
    assert (code, err) == (2, f"p3vc: {path}: is not a manifest of p3vc\n")


def test_a_name_that_is_no_text_is_printed(tool: Tool) -> None:
    path = os.fsdecode(os.fsencode(tool.folder) + b"/a\xff.npz")
    code, out, _ = tool.run("dataset", "synthetic", "--out", path, "--count", "2", "--shape", "1x4x4")
    assert (code, out) == (0, f"{tool.folder}/a\\udcff.npz: 2 records\n")


def test_what_a_library_says_in_lines_is_one_line(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise BadInputError("one\ntwo")

    monkeypatch.setattr("p3vc.cli._ledger", fail)
    assert tool.run("ledger", "--ledger", "x") == (2, "", "p3vc: one two\n")


@pytest.mark.parametrize("full", [False, True])
def test_a_reader_that_left_is_no_error_and_a_full_disk_is_one(tool: Tool, full: bool) -> None:
    tool.register()
    if full:
        target = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, target = os.pipe()
        os.close(reader)
    argv = [sys.executable, "-m", "p3vc.cli", "ledger", "--ledger", str(tool.ledger)]
    done = subprocess.run(argv, stdout=target, stderr=subprocess.PIPE, text=True, check=False)
    os.close(target)
    said = "p3vc: standard output: No space left on device\n" if full else ""
    assert (done.returncode, done.stderr) == (2 if full else 0, said)
