"""The ``federation`` command. Each subcommand imports what it needs: a probe must be quick."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from federation.errors import FederationError, InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; exit 0: done, 1: failed, 2: bad input, 3: not ready or not finished in time."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.action(arguments))
    except FederationError as error:
        print(f"federation: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="federation", description=main.__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    probe = commands.add_parser("probe", help="ask a SuperLink's or SuperNode's health service whether it serves")
    probe.add_argument("--address", required=True, metavar="HOST:PORT")
    probe.add_argument("--timeout", type=float, default=2.0, metavar="SECONDS")
    probe.set_defaults(action=_probe)

    run = commands.add_parser("run", help="register the clients, run the app, and record its results")
    run.add_argument("--superlink", required=True, metavar="HOST:PORT", help="the SuperLink's Control API")
    run.add_argument("--root-certificates", required=True, type=Path, metavar="PEM")
    run.add_argument("--public-keys", required=True, type=Path, metavar="DIR", help="holds <client>.pub, OpenSSH")
    run.add_argument("--results", required=True, type=Path, metavar="DIR", help="the ServerApp's results volume")
    run.add_argument("--termination-log", type=Path, metavar="FILE", help="where to leave the run's record")
    run.add_argument("--client", action="append", default=[], metavar="ID", help="a client that takes part; repeat")
    run.add_argument("--config", action="append", default=[], metavar="KEY=JSON", help="run configuration; repeat")
    run.add_argument("--wait", type=float, default=600.0, metavar="SECONDS", help="for the SuperLink, then the clients")
    run.add_argument("--timeout", type=float, default=86400.0, metavar="SECONDS", help="for the run")
    run.set_defaults(action=_run)

    for name, action, text in (
        (
            "supernode",
            _supernode,
            "flower-supernode, which looks for the next message sooner; all its arguments",
        ),
        (
            "superexec",
            _superexec,
            "flower-superexec, which forks apps, this image's alone; all its arguments",
        ),
    ):
        # Nothing is an option here, --help neither: all arguments are Flower's.
        flower = commands.add_parser(name, help=text, prefix_chars="\0", add_help=False)
        flower.add_argument("arguments", nargs=argparse.REMAINDER)
        flower.set_defaults(action=action)

    experiments = commands.add_parser("experiments", help="make the figures and pages of the paper's experiments")
    which = experiments.add_subparsers(required=True, metavar="EXPERIMENT")
    data = which.add_parser("data-consumption", help="experiment 3: releases at each epsilon and what they still teach")
    data.add_argument("--out", required=True, type=Path, metavar="DIR", help="for the page, figures and tables")
    data.add_argument("--cifar10", type=Path, metavar="DIR", help="also on CIFAR-10's binary or Python batches")
    data.add_argument("--images", type=int, default=2000, metavar="N", help="of CIFAR-10")
    data.add_argument("--seeds", type=int, default=3, metavar="N")
    data.add_argument("--workers", type=int, metavar="N", help="trainings at a time; one a core by default")
    data.set_defaults(action=_data_consumption)
    performance = which.add_parser("performance", help="experiment 1: time, memory and CPU of a run")
    performance.add_argument("--results", required=True, type=Path, metavar="DIR", help="a run's results")
    performance.add_argument("--deploy", required=True, type=Path, metavar="FILE", help="JSON: step → seconds")
    performance.add_argument("--out", required=True, type=Path, metavar="DIR", help="for the page, figure and table")
    performance.set_defaults(action=_performance)
    return parser


def _probe(arguments: argparse.Namespace) -> int:
    from federation.probe import probe  # noqa: PLC0415

    probe(arguments.address, arguments.timeout)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from federation import record  # noqa: PLC0415

    try:
        from federation.progress import Progress  # noqa: PLC0415
        from federation.submit import Submission, run  # noqa: PLC0415

        summary = run(
            Submission(
                superlink=arguments.superlink,
                root_certificates=arguments.root_certificates,
                public_keys=arguments.public_keys,
                results=arguments.results,
                clients=arguments.client,
                config=_config(arguments.config),
                wait=arguments.wait,
                timeout=arguments.timeout,
            ),
            Progress(),
        )
    except FederationError as error:
        record.leave(arguments.termination_log, record.failure(str(error)))
        raise
    text = record.success(summary)
    record.leave(arguments.termination_log, text)
    print(text)  # noqa: T201
    return 0


def _supernode(arguments: argparse.Namespace) -> int:
    from federation.supernode import supernode  # noqa: PLC0415

    supernode(arguments.arguments)
    return 0


def _superexec(arguments: argparse.Namespace) -> int:
    from federation.executor import superexec  # noqa: PLC0415

    superexec(arguments.arguments)
    return 0


def _data_consumption(arguments: argparse.Namespace) -> int:
    for name in ("images", "seeds", "workers"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: must be at least 1")
    from federation.experiments import data_consumption as experiment  # noqa: PLC0415
    from federation.progress import Progress  # noqa: PLC0415

    progress, seeds = Progress(), tuple(range(1, arguments.seeds + 1))
    workers = arguments.workers or len(os.sched_getaffinity(0))
    sets = [(experiment.DIGITS, *experiment.digits())]
    if arguments.cifar10 is not None:
        sets.append((experiment.CIFAR10, *experiment.cifar10(arguments.cifar10, arguments.images)))
    sections = [
        experiment.run(
            replace(plan, seeds=seeds), images, labels, out=arguments.out, workers=workers, progress=progress
        )
        for plan, images, labels in sets
    ]
    experiment.write_page(arguments.out / "data-consumption.md", sections)
    progress.say(f"written to {arguments.out}")
    return 0


def _performance(arguments: argparse.Namespace) -> int:
    from federation.experiments.performance import run  # noqa: PLC0415

    run(arguments.results, arguments.deploy, arguments.out)
    return 0


def _config(pairs: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        try:
            value = json.loads(text)
        except ValueError:
            separator = ""
            value = None
        if not separator or isinstance(value, (list, dict, type(None))):
            raise InputError(f"--config {pair!r}: expected KEY=VALUE with a JSON string, number or boolean")
        if key in values:
            raise InputError(f"--config {key}: given twice")
        values[key] = value
    return values


if __name__ == "__main__":
    sys.exit(main())
