from __future__ import annotations

import hashlib
import hmac
import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p3vc import datasets
from p3vc.formats import Npz
from p3vc.pixelise import Grid
from tests.p3vc.support import Tool, images, save


def released(tool: Tool, out: str = "out") -> tuple[np.ndarray, np.ndarray]:
    return (
        np.load(tool.folder / out / "images.npy", mmap_mode="r"),
        np.load(tool.folder / out / "labels.npy", mmap_mode="r"),
    )


def test_the_output_is_mapped_without_a_copy_and_keeps_the_invariants(tool: Tool) -> None:
    tool.register()
    code, out, _ = tool.release("a", "0.7", "out", "--json")
    assert code == 0
    record = json.loads(out)
    got_images, got_labels = released(tool)
    assert isinstance(got_images, np.memmap)
    assert (got_images.shape, got_images.dtype) == ((50, 3, 8, 8), np.uint8)
    assert (got_labels == np.arange(50) % 5).all()
    manifest = tool.manifest()
    assert manifest["public"]["invariants"] == {
        "records": 50, "shape": [3, 8, 8], "dtype": "uint8", "range": [0, 255], "classes": 5,
    }  # fmt: skip
    assert record["sensitivity"] == manifest["sensitivity"] == str(255 * 2 * 3)
    assert manifest["scale"] == record["scale"] == str(2 * 3 * 255 * 10 // 7) + "/1" or manifest["scale"] == "15300/7"
    assert record["client_records"] == 50
    assert [record[key] for key in ("budget", "spent", "remaining")] == ["2", "0.7", "1.3"]
    blocks = got_images.reshape(50, 3, 2, 4, 2, 4)
    assert (blocks == blocks[:, :, :, :1, :, :1]).all()  # every block has one value


@pytest.mark.parametrize("mechanism", ["laplace", "exponential"])
def test_the_noise_is_on_the_images_and_shrinks_with_epsilon(tool: Tool, mechanism: str) -> None:
    """At a huge epsilon the release is the pixelised image itself; at a small one it is far from it."""
    tool.register(budget="1000")
    tool.release("fine", "999", "fine", "--mechanism", mechanism, "--neighbourhood", "1", "--block", "4")
    grid = Grid(8, 8, 4)
    truth = grid.image(grid.sums(images(50))).astype(int)
    assert np.abs(released(tool, "fine")[0].astype(int) - truth).max() <= 2
    tool.release("coarse", "0.5", "coarse", "--mechanism", mechanism)
    assert np.abs(released(tool, "coarse")[0].astype(int) - truth).mean() > 30


_RECORDS = 5500  # seventeen batches, enough for two workers


def _archive(tool: Tool, *, deflated: bool = False) -> None:
    pixels, labels = images(_RECORDS, (3, 32, 32)), np.arange(_RECORDS) % 5
    (np.savez_compressed if deflated else np.savez)(tool.data, images=pixels, labels=labels)


def _cifar(tool: Tool) -> None:
    tool.data = tool.folder / "raw"
    tool.data.mkdir()
    rows = np.random.default_rng(3).integers(0, 256, (_RECORDS, 1 + 3072), dtype=np.uint8)
    rows[:, 0] %= 10
    for i, part in enumerate(np.split(rows, [700, 2900])):
        (tool.data / f"data_batch_{i}.bin").write_bytes(part.tobytes())


def _pictures(tool: Tool) -> None:
    tool.data = tool.folder / "raw"
    for i, image in enumerate(images(110, (3, 256, 200))):  # sixteen batches
        place = tool.data / str(i % 3) / f"{i:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)[: 255 if i == 30 else 256]).save(place, compress_level=0)


_RELEASES = [
    *[(_archive, ("--mechanism", name)) for name in ("laplace", "exponential", "paper")],
    (_archive, ("--labels", "private", "--label-epsilon", "1")),
    (_archive, ("--partition", "1/3")),
    (lambda tool: _archive(tool, deflated=True), ("--partition", "0/2", "--partitioner", "dirichlet")),
    (_cifar, ()),
    (_pictures, ()),
]


@pytest.mark.parametrize(("prepare", "more"), _RELEASES)
@pytest.mark.parametrize("classes", [(), ("--classes", "4")])  # the last label leaves records out
def test_the_release_does_not_depend_on_the_number_of_workers(
    tool: Tool,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Tool], None],
    more: tuple[str, ...],
    classes: tuple[str, ...],
) -> None:
    prepare(tool)
    monkeypatch.setattr(os, "urandom", lambda n: bytes(range(n)))
    shape = ("--shape", "3x256x200") if prepare is _pictures else ()
    declared = ("--classes", "5") if "private" in more and not classes else classes
    accepted = ("--accept-no-claim",) if "paper" in more else ()
    found = []
    for workers in ("1", "2"):
        tool.ledger = tool.folder / f"ledger-{workers}"
        code, _, err = tool.register(*shape, *declared, "--on-violation", "drop", "--workers", workers, budget="10")
        assert (code, err) == (0, "")
        forked = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        code, _, err = tool.release("a", "0.7", f"out-{workers}", *more, "--workers", workers, *accepted)
        assert (code, err) == (0, "")
        assert (resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt > forked) == (workers == "2")
        held = tool.manifest(f"out-{workers}")
        arrays = [(tool.folder / f"out-{workers}" / f"{name}.npy").read_bytes() for name in ("images", "labels")]
        found.append((arrays, held["arrays"], held["public"], held["dataset"]))
    assert found[0] == found[1]
    left_out = found[0][2]["left_out"]
    assert (left_out["label"] > 0) == (bool(classes) and prepare is not _pictures)
    assert left_out["shape"] == (1 if prepare is _pictures else 0)


def test_the_name_of_a_dataset_does_not_change(tool: Tool) -> None:
    """Or every ledger would lose its accounts. Written down from the definition, apart from the tool's code."""
    _archive(tool)
    tool.register()
    pixels, labels = images(_RECORDS, (3, 32, 32)), np.arange(_RECORDS) % 5
    state = hashlib.sha256(f"p3vc dataset 1: {_RECORDS} (3, 32, 32)\n".encode())
    for start in range(0, _RECORDS, (1 << 20) // 3072):
        rows = slice(start, start + (1 << 20) // 3072)
        state.update(hashlib.sha256(pixels[rows].tobytes() + labels[rows].astype("<i8").tobytes()).digest())
    name = hmac.digest((tool.ledger / "key").read_bytes(), state.digest(), "sha256").hex()
    assert tool.state()["dataset"] == f"hmac-sha256:{name}"


def test_every_claim_has_noise_of_its_own(tool: Tool) -> None:
    tool.register()
    tool.release("a", "0.7", "out-a")
    tool.release("b", "0.7", "out-b")
    assert (released(tool, "out-a")[0] != released(tool, "out-b")[0]).mean() > 0.3


def test_private_labels_are_randomised_and_charged(tool: Tool) -> None:
    save(tool.data, 2000, (1, 4, 4), classes=4)
    tool.register("--classes", "4")
    code, out, _ = tool.release("a", "0.5", "out", "--labels", "private", "--label-epsilon", "1.2", "--json")
    assert code == 0
    assert json.loads(out)["epsilon"] == "1.7"
    assert tool.state()["spent"] == "1.7"
    kept = (released(tool)[1] == np.arange(2000) % 4).mean()
    assert abs(kept - np.exp(1.2) / (np.exp(1.2) + 3)) < 0.05
    assert "features and label" in tool.manifest()["statement"]


@pytest.mark.parametrize("more", [("--labels", "private"), ("--label-epsilon", "1")])
def test_private_labels_and_their_epsilon_go_together(tool: Tool, more: tuple[str, ...]) -> None:
    tool.register()
    code, _, err = tool.release("a", "0.7", "out", *more)
    assert (code, "go together" in err) == (2, True)


def test_a_folders_order_gives_labels_away(tool: Tool) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tool.folder / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images(1)[0].transpose(1, 2, 0)).save(tool.folder / "raw" / name)
    tool.data = tool.folder / "raw"
    assert tool.register()[0] == 0
    code, _, err = tool.release("a", "0.7", "out", "--labels", "private", "--label-epsilon", "1")
    assert (code, "order" in err) == (2, True)
    assert tool.release("a")[0] == 0
    assert released(tool)[0].shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("declared", "counts"),
    [
        (("--range", "0:250"), {"range"}),
        (("--classes", "4"), {"label"}),
        (("--range", "1:255", "--classes", "4"), {"range", "label"}),
    ],
)
def test_records_that_violate_an_invariant_are_refused_or_left_out(
    tool: Tool, declared: tuple[str, ...], counts: set[str]
) -> None:
    code, _, err = tool.register(*declared)
    assert (code, "violate the declared invariants" in err) == (2, True)
    assert tool.register(*declared, "--on-violation", "drop")[0] == 0
    low, high = declared[1].split(":") if declared[0] == "--range" else ("0", "255")
    some, labels = images(50), np.arange(50) % 5
    fine = ((some >= int(low)) & (some <= int(high))).all(axis=(1, 2, 3)) & (
        ("--classes" not in declared) | (labels < 4)
    )
    assert 0 < fine.sum() < 50
    code, out, _ = tool.release("a", "0.7", "out", "--json")
    assert json.loads(out)["client_records"] == int(fine.sum())
    assert (released(tool)[1] == labels[fine]).all()
    left_out = tool.manifest()["public"]["left_out"]
    assert left_out["records"] == 50 - fine.sum()
    assert {key for key, n in left_out.items() if n and key != "records"} == counts
    assert int(tool.manifest()["sensitivity"]) == (int(high) - int(low)) * 2 * 3


@pytest.mark.parametrize(
    ("declared", "says"), [(("--shape", "3x9x9"), "--shape"), (("--records", "49"), "--records 49")]
)
def test_declared_facts_are_checked(tool: Tool, declared: tuple[str, ...], says: str) -> None:
    code, _, err = tool.register(*declared)
    assert (code, says in err) == (2, True)


def test_folders_leave_out_images_of_another_shape(tool: Tool) -> None:
    folder = tool.folder / "raw" / "a"
    folder.mkdir(parents=True)
    for i, size in enumerate([9, 8, 8]):  # the first one is the odd one
        Image.fromarray(np.full((size, size, 3), 100, np.uint8)).save(folder / f"{i}.png")
    tool.data = tool.folder / "raw"
    assert tool.register("--shape", "3x8x8")[0] == 2
    assert tool.register("--shape", "3x8x8", "--on-violation", "drop")[0] == 0
    for claim in ("a", "b"):
        assert tool.release(claim, "0.7", f"out-{claim}")[0] == 0
        assert released(tool, f"out-{claim}")[0].shape == (2, 3, 8, 8)
        os.utime(folder / "1.png")  # to be recognised by content the second time
    assert tool.manifest("out-b")["public"]["left_out"]["shape"] == 1


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "other"])
def test_broken_data_gives_one_error_no_output_and_no_charge(tool: Tool, damage: str) -> None:
    tool.register()
    data = bytearray(tool.data.read_bytes())
    if damage == "truncate":
        tool.data.write_bytes(data[:5000])
    elif damage == "flip":
        data[6000] ^= 255
        tool.data.write_bytes(data)
    elif damage == "remove":
        tool.data.unlink()
    else:
        save(tool.data, seed=4)
    log = tool.folder / "termination"
    code, out, err = tool.release("a", "0.7", "out", "--termination-log", str(log))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert json.loads(log.read_text())["error"] in err
    assert not (tool.folder / "out").exists()
    assert tool.state()["spent"] == "0"


def test_data_swapped_behind_an_unchanged_fingerprint_is_never_released(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Npz, "fingerprint", lambda _: "untouched")
    tool.register()
    save(tool.data, seed=4)
    code, _, err = tool.release("a")
    assert (code, "another dataset" in err) == (2, True)
    assert list((tool.folder / "out").iterdir()) == []
    assert tool.state()["spent"] == "0.7"  # reading had begun


def test_a_new_claim_replaces_the_release_in_a_folder(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    tool.release("b")
    verify = ("verify", "--release", str(tool.folder / "out"), "--claim")
    assert tool.run(*verify, "b")[0] == 0
    code, _, err = tool.run(*verify, "a")
    assert (code, "claim b" in err) == (2, True)


@pytest.mark.parametrize("damage", ["images", "labels", "manifest", "no manifest", "no labels", "short", "another's"])
def test_verify_finds_any_damage(tool: Tool, damage: str) -> None:
    tool.register()
    tool.release("a")
    out = tool.folder / "out"
    if damage in ("images", "labels"):
        data = bytearray((out / f"{damage}.npy").read_bytes())
        data[-1] ^= 1
        (out / f"{damage}.npy").write_bytes(data)
    elif damage == "manifest":
        (out / "manifest.json").write_text("{}")
    elif damage == "no manifest":
        (out / "manifest.json").unlink()
    elif damage == "no labels":
        (out / "labels.npy").unlink()
    elif damage == "short":
        (out / "images.npy").write_bytes((out / "images.npy").read_bytes()[:100])
    else:
        np.save(out / "images.npy", images(49))
    code, _, err = tool.run("verify", "--release", str(out))
    assert code == 2
    assert str(out) in err


@pytest.mark.parametrize("more", [(), ("--partition", "1/3")])
def test_the_digest_is_what_the_format_says(tool: Tool, more: tuple[str, ...]) -> None:
    _archive(tool)
    tool.register()
    tool.release("a", "0.7", "out", *more)
    batch = (1 << 20) // 3072
    for name, held in tool.manifest()["arrays"].items():
        array = np.load(tool.folder / "out" / f"{name}.npy")
        blocks = [array[i : i + batch].tobytes() for i in range(0, len(array), batch)]
        assert (len(blocks) > 1, held["block_bytes"]) == (True, len(blocks[0]))
        hashes = b"".join(hashlib.sha256(block).digest() for block in blocks)
        assert hashlib.sha256(hashes).hexdigest() == held["sha256_of_blocks"]
    assert tool.run("verify", "--release", str(tool.folder / "out"))[0] == 0


def test_verify_looks_at_every_block(tool: Tool) -> None:
    _archive(tool)
    tool.register()
    tool.release("a")
    path = tool.folder / "out" / "images.npy"
    verify = ("verify", "--release", str(tool.folder / "out"))
    assert tool.run(*verify)[0] == 0
    whole = path.read_bytes()
    for place in (128, 128 + (1 << 20), 128 + 5 * (1 << 20) + 77, len(whole) - 1):
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        code, _, err = tool.run(*verify)
        assert (code, "sha256_of_blocks" in err) == (2, True)
    path.write_bytes(whole + b"\0")
    assert tool.run(*verify)[0] == 2


def test_the_manifest_says_how_large_the_blocks_are(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    path, manifest = tool.folder / "out" / "manifest.json", tool.manifest()
    verify = ("verify", "--release", str(tool.folder / "out"))
    held = manifest["arrays"]["images"]
    data = (tool.folder / "out" / "images.npy").read_bytes()[128:]
    hashes = b"".join(hashlib.sha256(data[i : i + 1000]).digest() for i in range(0, len(data), 1000))
    held |= {"block_bytes": 1000, "sha256_of_blocks": hashlib.sha256(hashes).hexdigest()}
    path.write_text(json.dumps(manifest))
    assert tool.run(*verify)[0] == 0
    for size in (0, -1, 1.5, True, "1000", None, 1001):
        held["block_bytes"] = size
        path.write_text(json.dumps(manifest))
        code, _, err = tool.run(*verify)
        assert (code, err.count("\n"), "images.npy: is not what the manifest says" in err) == (2, 1, True)


def test_a_release_from_before_the_digest_of_blocks_still_verifies(tool: Tool) -> None:
    tool.register()
    tool.release("a")
    manifest = tool.manifest()
    for name, held in manifest["arrays"].items():
        del held["block_bytes"], held["sha256_of_blocks"]
        held["sha256"] = hashlib.sha256((tool.folder / "out" / f"{name}.npy").read_bytes()[128:]).hexdigest()
    (tool.folder / "out" / "manifest.json").write_text(json.dumps(manifest))
    verify = ("verify", "--release", str(tool.folder / "out"))
    assert tool.run(*verify)[0] == 0
    labels = tool.folder / "out" / "labels.npy"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x07")
    code, _, err = tool.run(*verify)
    assert (code, "sha256" in err) == (2, True)


def test_files_are_for_the_group_whatever_the_umask(tool: Tool) -> None:
    tool.register()
    old = os.umask(0o077)
    try:
        tool.release("a")
    finally:
        os.umask(old)
    for name in ("images.npy", "labels.npy", "manifest.json"):
        assert stat.S_IMODE((tool.folder / "out" / name).stat().st_mode) == 0o640
    assert stat.S_IMODE((tool.ledger / "key").stat().st_mode) == 0o600


def test_the_termination_message_fits_and_may_be_unwritable(tool: Tool) -> None:
    tool.register()
    log = tool.folder / "termination"
    assert tool.release("c" * 200, "0.1", "out", "--termination-log", str(log))[0] == 0
    assert len(log.read_bytes()) <= 4096
    assert set(json.loads(log.read_text())) == {
        "claim", "dataset", "client_records", "mechanism", "epsilon", "sensitivity", "scale", "composition", "budget",
        "spent", "remaining", "manifest",
    }  # fmt: skip
    assert tool.release("d", "0.1", "out", "--termination-log", "/nonexistent/log")[0] == 0


def test_an_estimate_spends_nothing(tool: Tool) -> None:
    tool.register()
    before = tool.state()
    argv = ("estimate", "--data", str(tool.data), "--ledger", str(tool.ledger), "--block", "4", "--neighbourhood", "2")
    code, out, _ = tool.run(*argv, "--epsilon", "2.5", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["would_exceed"] is True
    assert record["spent_after"] == "2.5"
    assert record["expected_error"]["unclamped"] == pytest.approx(255 * 2 * 3 / 2.5 / 16)
    assert tool.state() == before


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--epsilon", "0"), ("--epsilon", "-1"), ("--epsilon", "nan"), ("--epsilon", "inf"), ("--epsilon", "1e-13"),
        ("--epsilon", "many"), ("--block", "0"), ("--block", "x"), ("--block", "9"), ("--neighbourhood", "0"),
        ("--partition", "3/3"), ("--partition", "1"), ("--alpha", "0"), ("--claim", ""), ("--mechanism", "gaussian"),
        ("--disjoint", "because"),
    ],
)  # fmt: skip
def test_bad_arguments_name_the_flag_and_the_value(tool: Tool, flag: str, value: str) -> None:
    tool.register()
    code, _, err = tool.release("a", "0.7", "out", flag, value)
    assert code == 2
    assert flag in err
    assert "Traceback" not in err
    assert tool.state()["spent"] == "0"


def test_the_tool_runs_as_a_pod_runs_it(tool: Tool) -> None:
    """Read-only data, another user's umask, no home, nothing on standard error; help comes quickly without NumPy."""
    tool.register()
    argv = ["-m", "p3vc.cli", "release", "--data", str(tool.data), "--out", str(tool.folder / "out")]
    argv += ["--ledger", str(tool.ledger), "--claim", "a", "--epsilon", "0.7", "--block", "4"]
    tool.data.chmod(0o444)
    done = subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, check=False, env={"HOME": "/nonexistent"}, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")
    lean = "import sys; from p3vc import cli; cli._parser(); assert not {'numpy', 'opendp', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", lean], check=True)


def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    """184 MB of images in a process that stays within its interpreter, its tables and a few batches."""
    data = tmp_path / "big.npz"
    datasets.synthetic(data, 60_000, (3, 32, 32))
    code = (
        "from pathlib import Path; from p3vc import cli\n"
        f"a = ['--data', {str(data)!r}, '--ledger', {str(tmp_path / 'l')!r}]\n"
        "assert cli.main(['register', *a, '--budget', '1']) == 0\n"
        f"assert cli.main(['release', *a, '--out', {str(tmp_path / 'o')!r}, '--claim', 'a', '--epsilon', '0.7']) == 0\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"  # ru_maxrss outlives an exec
        "import resource; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own, workers = map(int, done.stdout.split()[-2:])
    assert own < 160 * 1024
    assert workers < 160 * 1024


def test_digits_are_real_and_deterministic(tool: Tool) -> None:
    code, out, _ = tool.run("dataset", "digits", "--out", str(tool.folder / "digits.npz"))
    assert (code, "1797" in out) == (0, True)
    with np.load(tool.folder / "digits.npz") as held:
        assert held["images"].shape == (1797, 1, 8, 8)
        assert held["images"].dtype == np.uint8
        assert held["images"].max() == 255
        assert np.bincount(held["labels"]).min() > 170


@pytest.mark.parametrize("private", [False, True])
def test_a_manifest_says_that_no_claim_covers_labels_in_clear(tool: Tool, *, private: bool) -> None:
    tool.register("--classes", "5")
    tool.release("a", "0.7", "out", *(("--labels", "private", "--label-epsilon", "0.1") if private else ()))
    manifest = tool.manifest()
    if private:
        assert manifest["not_covered"] is None
        assert manifest["statement"].endswith("features and label")
    else:
        assert "loss, accuracy and train-loss" in manifest["not_covered"]
        assert manifest["not_covered"] in manifest["statement"]
