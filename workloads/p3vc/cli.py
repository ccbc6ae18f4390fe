"""The command line: ``p3vc register | release | grant | verify | ledger | estimate | cancel | audit | dataset | …``."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from p3vc import arguments
from p3vc.errors import BadInputError, P3VCError

if TYPE_CHECKING:
    from p3vc.partition import Partition
    from p3vc.request import Request

_TERMINATION_BYTES = 4096
_EPILOG = """exit codes: 0 done; 2 bad input; 3 refused: the privacy terms of the dataset do not allow it"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = _parser().parse_args(argv)
    try:
        with _stoppable():
            _places(args)
            record, summary = args.run(args)
    except P3VCError as error:
        return _fail(args, str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail(args, "interrupted; run the same command again", 130)
    except MemoryError:
        return _fail(args, "out of memory: the pod's memory limit is too low for this image size", 2)
    except OSError as error:
        return _fail(args, f"{error.filename or ''}: {error.strerror}".strip(": "), 2)
    _terminate(args, record)
    return _show(json.dumps(record, indent=2, sort_keys=True) if args.json else summary)


def _show(text: str) -> int:
    """Print a result, whatever the names in it; a reader that has seen enough, such as ``head``, is no error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)  # noqa: T201
    except OSError as error:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - Python flushes again on its way out
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"p3vc: standard output: {error.strerror}", file=sys.stderr)  # noqa: T201
            return 2
    return 0


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Take SIGTERM as an interruption, so that a stopped pod leaves no partial file."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _fail(args: argparse.Namespace, message: str, code: int) -> int:
    message = " ".join(message.splitlines())  # what a library says may be long
    print(f"p3vc: {message}", file=sys.stderr)  # noqa: T201
    _terminate(args, {"error": message})
    return code


def _terminate(args: argparse.Namespace, record: dict[str, Any]) -> None:
    """Write the record where Kubernetes reads a container's termination message, which holds 4096 bytes."""
    if not getattr(args, "termination_log", None):
        return
    data = json.dumps(record, separators=(",", ":"))
    while len(data.encode()) > _TERMINATION_BYTES:
        record = {key: value[: len(value) // 2] if isinstance(value, str) else value for key, value in record.items()}
        data = json.dumps(record, separators=(",", ":"))
    with contextlib.suppress(OSError):
        args.termination_log.write_text(data)


def _places(args: argparse.Namespace) -> None:
    """Compare what any command writes to with what must stay as it is, before it does anything.

    Raises:
        BadInputError: they overlap. A record is then written nowhere but where it does no harm.
    """
    from p3vc import places, seeds  # noqa: PLC0415

    ledger, data, out = (getattr(args, name, None) for name in ("ledger", "data", "out"))
    kept: dict[str, Path] = {} if data is None else {"--data": data}
    if ledger is not None:
        kept |= {"--ledger": ledger, "--seeds": getattr(args, "seeds", None) or seeds.beside(ledger)}
    log, args.termination_log = getattr(args, "termination_log", None), None
    if log is not None:
        places.report(log, kept)
        args.termination_log = log
        if out is not None:
            places.apart({"--termination-log": log}, {"--out": out}, "which is published")
    for option, other in (("--ledger", "--data"), ("--seeds", "--data"), ("--seeds", "--ledger")):
        if option in kept and other in kept:
            places.apart({option: kept[option]}, {other: kept[other]}, "which is kept and backed up by itself")
    if out is not None:
        places.apart({"--out": out}, kept, "which would be published or written over with it")
        places.apart({"--out": out}, places.ledger_above(out), "whose files must stay as they are")


def _register(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from contract.decimals import plain  # noqa: PLC0415
    from p3vc.account import Terms  # noqa: PLC0415
    from p3vc.register import Declared, register  # noqa: PLC0415
    from p3vc.terms import ended  # noqa: PLC0415

    if args.composition != "basic" and args.delta is None:
        raise BadInputError(f"--composition {args.composition} needs --delta, well below 1/records; for example 1e-5")
    terms = Terms(args.budget, args.composition, args.delta, args.on_violation, args.neighbourhood)
    low, high = args.range
    declared = Declared(args.shape, low, high, args.classes, args.records)
    account, new = register(args.data, args.format, args.ledger, terms, declared, workers=args.workers)
    record = {"dataset": account.dataset, "new": new, "terms": account.terms.as_json()}
    record |= {"invariants": account.invariants.as_json(), "violations": account.violations}
    rule = terms.composition + ("" if terms.delta is None else f" at delta {terms.delta}")
    word = "registered" if new else "already registered on these terms"
    said = f"{account.dataset}: {word}: {account.invariants.records} records, budget {plain(terms.budget)} ({rule})"
    if terms.budget != account.terms.budget:
        said += f"; its owner has raised the budget to {plain(account.terms.budget)} since: name that to plan with it"
    if account.closed:
        said += f"; it {ended(account)}"
    return record, said


def _partition(args: argparse.Namespace) -> Partition | None:
    from p3vc.partition import Partition  # noqa: PLC0415

    if args.partition is None:
        for option in ("partitioner", "alpha", "seed", "disjoint"):
            if getattr(args, option) is not None:
                raise BadInputError(f"--{option}: is about parts of a dataset, so it needs --partition I/N; name one")
        return None
    index, count = args.partition
    return Partition.of(index, count, args.partitioner or "iid", args.alpha, args.seed)


def _request(args: argparse.Namespace) -> Request:
    from p3vc.request import Request  # noqa: PLC0415

    if (args.labels == "private") != (args.label_epsilon is not None):
        raise BadInputError(
            "--labels private and --label-epsilon go together: private labels cost an epsilon of their own"
        )
    if args.accept_no_claim and args.mechanism != "paper":
        raise BadInputError(
            f"--accept-no-claim: is about mechanism paper, and {args.mechanism} keeps its claim; leave it out"
        )
    return Request(
        claim=args.claim,
        mechanism=args.mechanism,
        epsilon=args.epsilon,
        block=args.block,
        neighbourhood=args.neighbourhood,
        label_epsilon=args.label_epsilon,
        partition=_partition(args),
        disjoint=args.disjoint,
        accept_no_claim=args.accept_no_claim,
        formerly=args.formerly,
    )


def _release(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from p3vc.release import release  # noqa: PLC0415

    record, new = release(
        args.data, args.format, args.out, args.ledger, _request(args), seeds=args.seeds, workers=args.workers
    )
    word = "released" if new else "already released"
    return record, (
        f"{record['claim']}: {word}: {record['client_records']} records by {record['mechanism']}, epsilon "
        f"{record['epsilon']}; spent {record['spent']} of {record['budget']} ({record['composition']}), remaining "
        f"{record['remaining']}"
    )


def _grant(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from p3vc.grant import Training, grant  # noqa: PLC0415

    training = Training(
        claim=args.claim,
        grant=args.grant,
        epsilon=args.epsilon,
        delta=args.delta,
        rounds=args.rounds,
        clipping_norm=args.clipping_norm,
        partition=_partition(args),
        disjoint=args.disjoint,
    )
    record, new = grant(args.data, args.format, args.out, args.ledger, training, workers=args.workers)
    word = "granted" if new else "already granted"
    return record, (
        f"{record['claim']}: {word}: {record['rounds']} rounds at noise multiplier {record['noise_multiplier']:g}, "
        f"epsilon {record['epsilon']} at delta {record['delta']}; spent {record['spent']} of {record['budget']} "
        f"({record['composition']}), remaining {record['remaining']}"
    )


def _verify(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from p3vc.output import verify  # noqa: PLC0415

    manifest, digest = verify(args.release, args.claim, formerly=args.formerly)
    shape = "x".join(str(n) for n in manifest["arrays"]["images"]["shape"])
    return {
        "manifest": f"sha256:{digest}",
        **manifest,
    }, f"{manifest['claim']}: complete: {shape}; {manifest['statement']}"


def _ledger(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from p3vc.report import ledger_report, ledger_text  # noqa: PLC0415

    record = ledger_report(args.ledger, args.dataset)
    return record, ledger_text(record)


def _estimate(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from p3vc.report import estimate, estimate_text  # noqa: PLC0415

    record = estimate(args.data, args.format, args.ledger, _request(args), args.workers)
    return record, estimate_text(record)


def _cancel(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from contract.decimals import plain  # noqa: PLC0415
    from p3vc.ledger import Ledger  # noqa: PLC0415

    account = Ledger(args.ledger).cancel(args.claim)
    left = plain(account.remaining)
    return {
        "claim": args.claim,
        "dataset": account.dataset,
        "remaining": left,
    }, f"{args.claim}: cancelled; remaining {left}"


def _owner(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from contract.decimals import plain  # noqa: PLC0415
    from p3vc.ledger import Ledger  # noqa: PLC0415
    from p3vc.terms import ended  # noqa: PLC0415

    raised = {key: getattr(args, key) for key in ("budget", "delta") if getattr(args, key, None) is not None}
    account = Ledger(args.ledger).decide(args.dataset, args.decision, args.who, args.why, raised=raised)
    record = {"dataset": account.dataset, "decision": account.decisions[-1].as_json(), "terms": account.terms.as_json()}
    record["remaining"] = plain(account.remaining)
    if account.closed:
        return record, f"{account.dataset}: {ended(account)}"
    delta = "" if account.terms.delta is None else f", delta {plain(account.terms.delta)}"
    return record, (
        f"{account.dataset}: budget {plain(account.terms.budget)}{delta}; spent {plain(account.spent)}, remaining "
        f"{plain(account.remaining)}. A testbed's policy has a cap of its own, which this does not change"
    )


def _audit(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from p3vc.audit import audit, audit_text  # noqa: PLC0415

    record = audit(args.mechanism, args.epsilon, args.trials, args.seed)
    return record, audit_text(record)


def _dataset(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from p3vc import datasets  # noqa: PLC0415

    if args.out.exists():
        raise BadInputError(f"--out {args.out}: is there already, and no data is written over; name another file")
    if args.name == "digits":
        count = datasets.digits(args.out)
    else:
        count = datasets.synthetic(args.out, args.count, args.shape, args.seed)
    return {"out": str(args.out), "records": count}, f"{args.out}: {count} records"


def _bench(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from p3vc.bench import bench, bench_text  # noqa: PLC0415

    record = bench(args.count)
    return record, bench_text(record)


def _source_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, required=True, help="raw dataset: a file or a folder")
    command.add_argument("--format", choices=("auto", "npz", "cifar10", "folder"), default="auto")
    command.add_argument(
        "--workers", type=arguments.whole(1, 1024), help="threads; all cores given to the process by default"
    )


def _request_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--epsilon", type=arguments.positive, required=True, help="of the images")
    command.add_argument("--mechanism", choices=("laplace", "exponential", "paper"), default="laplace")
    command.add_argument("--block", type=arguments.whole(1, 2**15), default=8, help="pixelisation block side, pixels")
    command.add_argument(
        "--neighbourhood",
        type=arguments.whole(1, 2**30),
        default=16,
        help="pixels in which neighbouring images may differ",
    )
    command.add_argument("--labels", choices=("public", "private"), default="public")
    command.add_argument("--label-epsilon", type=arguments.positive, help="of private labels")
    _partition_options(command)
    command.add_argument(
        "--accept-no-claim", action="store_true", help="let mechanism paper end every later claim on the dataset"
    )


def _formerly_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--formerly", type=arguments.claim, metavar="CLAIM", help="the id that an earlier version gave this very claim"
    )


def _partition_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--partition", type=arguments.part, metavar="I/N", help="part I (from 0) of N")
    command.add_argument("--partitioner", choices=("iid", "dirichlet"), help="iid by default")
    command.add_argument(
        "--alpha", type=arguments.number("0.001", "1e6"), help="Dirichlet concentration; 0.5 by default"
    )
    command.add_argument("--seed", type=arguments.whole(0, 2**63 - 1), help="of the partition; public; 0 by default")
    command.add_argument(
        "--disjoint",
        type=arguments.assertion,
        metavar="TEXT",
        help="assertion that no person has records in two parts; recorded",
    )


def _inspecting(add: Callable[..., argparse.ArgumentParser], commands: Any) -> None:
    verify = add("verify", _verify, "check that a folder holds a complete release")
    verify.add_argument("--release", type=Path, required=True)
    verify.add_argument("--claim", type=arguments.claim, help="the claim it must be of")
    _formerly_option(verify)

    ledger = add("ledger", _ledger, "show what was spent")
    ledger.add_argument("--ledger", type=Path, required=True)
    ledger.add_argument("--dataset", help="digest; needed only where a ledger has several")

    estimate = add("estimate", _estimate, "say what a release would cost and how noisy it would be, spending nothing")
    _source_options(estimate)
    estimate.add_argument("--ledger", type=Path, required=True)
    _request_options(estimate)
    estimate.set_defaults(claim="estimate", formerly=None)

    cancel = add("cancel", _cancel, "give back a claim that was reserved and never committed")
    cancel.add_argument("--ledger", type=Path, required=True)
    cancel.add_argument("--claim", type=arguments.claim, required=True)

    owner = commands.add_parser("owner", help="decide on an account as the data's owner; recorded in its ledger")
    decisions = owner.add_subparsers(required=True, metavar="DECISION", dest="decision")
    for name, text in (
        ("raise", "give a dataset more budget, or more delta under composition basic"),
        ("close", "admit no new claim on a dataset"),
        ("begin", "close a dataset and let other records at its data path be a new one"),
    ):
        one = decisions.add_parser(name, help=text, description=text, epilog=_EPILOG)
        one.set_defaults(run=_owner)
        one.add_argument("--json", action="store_true", help="print one JSON object")
        one.add_argument("--ledger", type=Path, required=True)
        one.add_argument("--dataset", help="digest; needed only where a ledger has several")
        one.add_argument("--who", type=arguments.words, required=True, help="decides; recorded")
        one.add_argument("--why", type=arguments.words, required=True, help="in words; recorded")
        if name == "raise":
            one.add_argument("--budget", type=arguments.positive, help="the new one, above the present one")
            one.add_argument("--delta", type=arguments.delta, help="the new one, above the present one")

    audit = add("audit", _audit, "measure a lower bound on a mechanism's epsilon")
    audit.add_argument("--mechanism", choices=("laplace", "exponential", "labels", "paper"), required=True)
    audit.add_argument("--epsilon", type=arguments.positive, default=Decimal("0.7"))
    audit.add_argument("--trials", type=arguments.whole(1000, 10**8), default=200_000)
    audit.add_argument("--seed", type=arguments.whole(0, 2**63 - 1), default=0)

    dataset = add("dataset", _dataset, "write a dataset to try the tool on")
    dataset.add_argument("name", choices=("digits", "synthetic"))
    dataset.add_argument("--out", type=Path, required=True)
    dataset.add_argument("--count", type=arguments.whole(1, 10**9), default=50_000)
    dataset.add_argument("--shape", type=arguments.shape, default=(3, 32, 32))
    dataset.add_argument("--seed", type=arguments.whole(0, 2**63 - 1), default=0)

    bench = add("bench", _bench, "compare speeds on the same images")
    bench.add_argument("--count", type=arguments.whole(1000, 10**7), default=50_000)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong, without the whole usage around it."""

    def error(self, message: str) -> NoReturn:
        """Exit with two lines."""
        self.exit(
            2, f"{self.prog}: error: {' '.join(message.splitlines())}\n{self.prog} --help shows what is allowed\n"
        )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="p3vc", description="Differentially private releases of image datasets.", epilog=_EPILOG)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[..., Any], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, epilog=_EPILOG)
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", help="print one JSON object")
        return command

    register = add("register", _register, "fix a dataset's budget and invariants, once")
    _source_options(register)
    register.add_argument("--ledger", type=Path, required=True, help="folder of the ledger, beside the raw data")
    register.add_argument("--budget", type=arguments.positive, required=True, help="epsilon of the dataset for ever")
    register.add_argument("--composition", choices=("basic", "advanced", "zcdp"), default="basic")
    register.add_argument("--delta", type=arguments.delta)
    register.add_argument(
        "--neighbourhood", type=arguments.whole(1, 2**30), help="pixels that every release must protect at least"
    )
    register.add_argument("--on-violation", choices=("refuse", "drop"), default="refuse")
    register.add_argument("--shape", type=arguments.shape, metavar="CxHxW", help="declared; the data's own when absent")
    register.add_argument(
        "--range", type=arguments.range_of, metavar="LOW:HIGH", default=(0, 255), help="declared grey levels"
    )
    register.add_argument(
        "--classes",
        type=arguments.whole(1, 2**16),
        help="declared label set 0..K-1, as private labels need; the data's own when absent",
    )
    register.add_argument("--records", type=arguments.whole(1, 2**40), help="declared record count")
    register.add_argument("--termination-log", type=Path)

    release = add("release", _release, "write a private copy of a dataset and charge for it")
    _source_options(release)
    release.add_argument("--out", type=Path, required=True, help="folder of the private copy")
    release.add_argument("--ledger", type=Path, required=True)
    release.add_argument("--claim", type=arguments.claim, required=True, help="id; the same claim is charged once")
    release.add_argument(
        "--seeds",
        type=Path,
        help="folder of the noise's seed until the release is whole, where nothing but the raw data is kept or backed "
        "up; LEDGER.seeds when absent",
    )
    _formerly_option(release)
    _request_options(release)
    release.add_argument("--termination-log", type=Path)

    grant = add("grant", _grant, "charge a dataset for one training run with Gaussian noise on its model")
    _source_options(grant)
    grant.add_argument("--out", type=Path, required=True, help="folder of the private copy")
    grant.add_argument("--ledger", type=Path, required=True)
    grant.add_argument("--claim", type=arguments.claim, required=True, help="id; the same claim is charged once")
    grant.add_argument("--grant", type=arguments.grant, required=True, help="id of the run, 12 hexadecimal digits")
    grant.add_argument("--epsilon", type=arguments.positive, required=True, help="of the whole run, at --delta")
    grant.add_argument("--delta", type=arguments.delta, required=True)
    grant.add_argument("--rounds", type=arguments.whole(1, 10**6), required=True, help="models that the run publishes")
    norm = arguments.number("1e-6", "1e6")
    grant.add_argument("--clipping-norm", type=norm, required=True, help="L2 norm of a client's update")
    _partition_options(grant)
    grant.add_argument("--termination-log", type=Path)

    _inspecting(add, commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
