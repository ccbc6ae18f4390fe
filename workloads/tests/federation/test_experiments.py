from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from federation.cli import main
from federation.experiments import sweep
from federation.experiments.data_consumption import DIGITS, digits, run, write_page
from federation.experiments.simulation import simulate
from federation.progress import Progress
from federation.results import RunFolder
from federation.settings import Settings
from tests.federation.conftest import Parts
from tests.federation.loopback import write_release

TINY = replace(
    DIGITS,
    epsilons=(Decimal("0.5"), Decimal(20)),
    seeds=(1, 2),
    clients=2,
    training=Settings(rounds=1, local_epochs=1, batch_size=16),
)


def test_noise_follows_the_seed_and_shrinks_with_epsilon() -> None:
    images, _ = digits()
    images = images[:200]
    for name in ("laplace", "exponential", "paper"):
        one, same, other = (sweep.released(TINY, images, name, Decimal(1), seed) for seed in (1, 1, 2))
        assert (one == same).all()
        assert (one != other).any()
    rows = {(r["mechanism"], r["epsilon"]): r for r in sweep.errors(TINY, images)}
    for name in ("laplace", "exponential"):
        assert rows[name, "20"]["measured"] < rows[name, "0.5"]["measured"] / 3
        assert rows[name, "20"]["measured"] == pytest.approx(rows[name, "20"]["expected"], rel=0.25)
    assert rows["paper", "20"]["expected"] is None


def test_a_point_is_trained_on_the_release_and_judged_on_raw_images() -> None:
    images, labels = digits()
    plan = replace(TINY, training=Settings(rounds=2, local_epochs=2, batch_size=16, learning_rate=0.03))
    clean = sweep.train(plan, images[:600], labels[:600], ("none", None, 1))
    noisy = sweep.train(plan, images[:600], labels[:600], ("exponential", Decimal("0.1"), 1))
    assert clean["accuracy"] > 0.5 > noisy["accuracy"]
    assert noisy["epsilon"] == "0.1"


def test_a_summary_has_mean_and_deviation_over_seeds() -> None:
    rows = [
        {"dataset": "d", "mechanism": "laplace", "epsilon": "1", "seed": i, "accuracy": a, "reported": 0.5}
        for i, a in enumerate((0.2, 0.4))
    ]
    (entry,) = sweep.summarise(rows)
    assert entry["accuracy"] == pytest.approx(0.3)
    assert entry["accuracy-sd"] == pytest.approx(np.std([0.2, 0.4], ddof=1))
    assert (entry["reported-sd"], entry["seeds"]) == (0, 2)


def test_the_page_of_data_consumption(tmp_path: Path) -> None:
    images, labels = digits()
    plan = replace(TINY, epsilons=(Decimal(5),))
    section = run(plan, images[:150], labels[:150], out=tmp_path, workers=2, progress=Progress())
    write_page(tmp_path / "page.md", [section])
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Data consumption")
    assert "| laplace | 5 | " in page
    for figure in ("images", "accuracy", "error"):
        assert f"data-consumption-digits-{figure}.png" in page
        with Image.open(tmp_path / f"data-consumption-digits-{figure}.png") as picture:
            assert picture.width > 300
    with (tmp_path / "data-consumption-digits-accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list(plan.points())) == 8
    assert {r["mechanism"] for r in rows} == {"laplace", "exponential", "paper", "none"}


def test_the_page_of_performance(tmp_path: Path, digits: Callable[[int, int], Parts]) -> None:
    folders = {}
    for client, (images, labels) in digits(2, 40).items():
        folders[client] = tmp_path / client
        write_release(folders[client], images, labels)
    settings = Settings(rounds=2, local_epochs=1, num_clients=2)
    outcome = simulate(folders, settings)
    folder = RunFolder(tmp_path / "results", 7)
    for record in outcome.rounds:
        folder.add_round({**record, "server-peak-memory": 10**8})
    arrays = {name: array.numpy() for name, array in outcome.arrays.items()}
    folder.finish(arrays, {"run": 7, "settings": settings.to_config(), "seconds": 12.5})
    (tmp_path / "deploy.json").write_text(json.dumps({"deploy": 20.25, "prepare data": 5}))
    options = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert main(["experiments", "performance", *options, "--deploy", str(tmp_path / "deploy.json")]) == 0
    page = (tmp_path / "out" / "performance.md").read_text()
    assert "| deploy | 20.2 |" in page
    assert "| train | 12.5 |" in page
    assert (tmp_path / "out" / "performance.png").stat().st_size > 10_000
    with (tmp_path / "out" / "performance.csv").open() as file:
        assert [row["round"] for row in csv.DictReader(file)] == ["1", "2"]


def test_performance_refuses_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deploy = tmp_path / "deploy.json"
    options = ["--results", str(tmp_path), "--out", str(tmp_path), "--deploy", str(deploy)]
    assert main(["experiments", "performance", *options]) == 2
    assert "holds no complete run" in capsys.readouterr().err
    (tmp_path / "summary.json").write_text("{}")
    for text in ("[1]", '{"deploy": "soon"}', "{"):
        deploy.write_text(text)
        assert main(["experiments", "performance", *options]) == 2
        assert "expected a JSON object from step to seconds" in capsys.readouterr().err
