"""The ``federation`` command. Each subcommand imports what it needs: a probe must be quick."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
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
