"""``testbed``: judge Kubernetes manifests without engine or cluster."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed import ledger as books
from testbed.compare import difference
from testbed.errors import SpecError
from testbed.reachability.explain import explain
from testbed.reader import read
from testbed.report import findings, markdown, pull_request, sarif, structured, text
from testbed.rules.config import PolicyConfig
from testbed.rules.config import read as read_config
from testbed.rules.context import Context
from testbed.strict import UnreadableError
from testbed.workloads import Pod

OK, VIOLATIONS, UNREADABLE = 0, 1, 2
FORMATS: dict[str, Callable[[findings.Findings], str]] = {
    "text": text.findings,
    "json": structured.findings,
    "md": markdown.findings,
    "sarif": sarif.findings,
}
EPILOG = "exit code: 0 nothing found, 1 violations (check) or not isolated (explain), 2 input that cannot be read"


class UsageError(ValueError):
    """An argument that names nothing; the message says what there is."""


def _config(arguments: argparse.Namespace) -> PolicyConfig:
    return read_config(arguments.policy_config) if arguments.policy_config else PolicyConfig()


def check(arguments: argparse.Namespace) -> int:
    """Apply every rule to manifests."""
    found = findings.find(Context(read(arguments.paths), _config(arguments)))
    _print(FORMATS[arguments.format](found))
    return VIOLATIONS if found.violations else OK


def _pod(pods: Sequence[Pod], name: str) -> Pod:
    """The workload called ``name``, or whose pods are called so."""
    exact = [p for p in pods if p.name == name]
    found = exact or [p for p in pods if name.startswith(f"{p.name}-")]
    if not found:
        known = ", ".join(sorted(p.name for p in pods)[:20]) or "none"
        raise UsageError(f"{name}: no such pod; name one as namespace/workload. There are: {known}")
    return max(found, key=lambda p: len(p.name))


def explain_pair(arguments: argparse.Namespace) -> int:
    """Say why one pod reaches another, or what keeps it from it."""
    config = _config(arguments)
    context = Context(read(arguments.paths), config)
    source, target = (_pod(context.pods, name) for name in (arguments.source, arguments.target))
    for pod in (source, target):
        if not pod.client:
            raise UsageError(f"{pod.name}: not a client's pod; only pairs of pods of different clients are judged")
    if not context.groups.apart(source, target):
        _print(f"{source.name} -> {target.name}: one client or group, which may share a network")
        return OK
    found = explain(context.objects, config.network.isolation, context.groups, source, target)
    _print(text.explanation(found))
    return OK if found.pair.verdict == "isolated" else VIOLATIONS


def _both(arguments: argparse.Namespace, config: PolicyConfig) -> tuple[Context, Context]:
    """Base and head; the base of a new stack holds nothing."""
    return Context(read([arguments.base], empty=True), config), Context(read([arguments.head]), config)


def diff(arguments: argparse.Namespace) -> int:
    """Compare two sets of manifests."""
    config = _config(arguments)
    base, head = _both(arguments, config)
    found = difference(base, head)
    _print(markdown.difference(found) if arguments.format == "md" else text.difference(found))
    return OK


def report(arguments: argparse.Namespace) -> int:
    """Render a pull request's comment on one environment."""
    config = _config(arguments)
    base, head = _both(arguments, config)
    found = findings.find(head)
    _print(pull_request.comment(arguments.stack, base, head, found))
    return VIOLATIONS if found.violations else OK


def comment(arguments: argparse.Namespace) -> int:
    """Post a rendered comment to its pull request, or edit the one posted before."""
    from testbed.comment import CommentError, PullRequest  # noqa: PLC0415 - no other command needs the network

    settings = {name: os.environ.get(name, "") for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN")}
    if missing := [name for name, value in settings.items() if not value]:
        raise UsageError(f"{', '.join(missing)} not set: run this in a GitHub workflow")
    api, repository, token = settings.values()
    try:
        body = Path(arguments.report).read_text(encoding="utf-8")
        where = PullRequest(api, repository, arguments.number, token).publish(
            pull_request.marker(arguments.stack), body
        )
    except OSError as error:
        raise UsageError(f"{arguments.report}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{arguments.report}: not UTF-8 text: give what `testbed report` printed") from None
    except CommentError as error:
        sys.stderr.write(f"testbed: {error}\n")
        return VIOLATIONS
    _print(where)
    return OK


def ledger(arguments: argparse.Namespace) -> int:
    """Show what privacy ledgers hold, or write it as the policies' configuration."""
    found = []
    for entry in arguments.ledgers:
        named, equals, folder = entry.rpartition("=")
        name, at, place = named.partition("@")
        found += books.read(name if equals else Path(folder).parent.name, Path(folder), place if at else None)
    if arguments.format == "policy":
        _print(json.dumps(books.spent(found), indent=2))
    elif arguments.format == "json":
        _print(json.dumps([{"name": one.dataset, "folder": str(one.folder), **one.record} for one in found], indent=2))
    else:
        _print(books.table(found))
    return OK


def bench(arguments: argparse.Namespace) -> int:
    """Measure how the rules scale, as ratios of one run."""
    from testbed import bench as measuring  # noqa: PLC0415 - of no use to the other commands

    _print(measuring.table([measuring.measure(size) for size in measuring.SIZES if size <= arguments.clients]))
    return OK


def _print(report: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"  # what it cannot show, a file's name that is not text, is escaped
    sys.stdout.write(f"{report}\n".encode(encoding, "backslashreplace").decode(encoding))


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(prog="testbed", description=__doc__, epilog=EPILOG)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=(run.__doc__ or "").partition("\n")[0], epilog=EPILOG)
        one.add_argument(
            "--policy-config", type=Path, metavar="FILE", help="settings by rule, as the engine takes them"
        )
        one.set_defaults(run=run)
        return one

    paths = {"nargs": "+", "metavar": "PATH", "help": "manifest files or folders (YAML, JSON)"}
    one = command("check", check)
    one.add_argument("--format", choices=FORMATS, default="text")
    one.add_argument("paths", **paths)  # type: ignore[arg-type]
    one = command("explain", explain_pair)
    one.add_argument("source", metavar="FROM", help="namespace/pod")
    one.add_argument("target", metavar="TO", help="namespace/pod")
    one.add_argument("paths", **paths)  # type: ignore[arg-type]
    one = command("diff", diff)
    one.add_argument("--format", choices=("text", "md"), default="text")
    one.add_argument("base", metavar="BASE", help="manifest file or folder")
    one.add_argument("head", metavar="HEAD", help="manifest file or folder")
    one = command("report", report)
    one.add_argument("--stack", required=True, help="the environment's stack")
    one.add_argument("base", metavar="BASE", help="manifests of the base branch")
    one.add_argument("head", metavar="HEAD", help="manifests of the pull request")
    one = command("comment", comment)
    one.add_argument("--stack", required=True, help="the environment's stack")
    one.add_argument("--number", required=True, type=int, help="the pull request's number")
    one.add_argument("report", metavar="FILE", help="what `testbed report` printed")
    one = commands.add_parser("ledger", help=(ledger.__doc__ or "").partition("\n")[0], epilog=EPILOG)
    one.add_argument(
        "--format",
        choices=("text", "json", "policy"),
        default="text",
        help="policy: a --policy-pack-config that counts what is spent",
    )
    one.add_argument(
        "ledgers",
        nargs="+",
        metavar="[NAME[@NODE:FOLDER]=]FOLDER",
        help="a ledger's folder, with the name under which the testbed declares its dataset; of a copy, also where the "
        "testbed has it",
    )
    one.set_defaults(run=ledger)
    one = commands.add_parser("bench", help="measure how the rules scale")
    one.add_argument("--clients", type=int, default=10_000, help="the largest testbed (10 000)")
    one.set_defaults(run=bench)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 2 for input that cannot be read, with file and line."""
    arguments = parser().parse_args(argv)
    gc.disable()  # a command reads, judges and ends: millions of objects, and no cycle worth searching for
    try:
        return int(arguments.run(arguments))
    except (UnreadableError, SpecError, UsageError, books.LedgerError) as error:
        sys.stderr.write(f"testbed: {error}\n")
        return UNREADABLE


if __name__ == "__main__":
    sys.exit(main())
