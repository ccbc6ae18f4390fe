"""The ``lab`` command."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.paths import Paths
from lab.progress import say

STOPPED = 3  # exit code of `lab status` when there is no lab, as of an init script


def _up(options: argparse.Namespace) -> int:
    from lab.up import up  # noqa: PLC0415 - each command loads what it needs

    up(options.paths, options.stack, options.policy_config)
    return 0


def _preview(options: argparse.Namespace) -> int:
    from lab.up import preview  # noqa: PLC0415

    preview(options.paths, options.stack, options.policy_config)
    return 0


def _down(options: argparse.Namespace) -> int:
    from lab import disks, lifecycle  # noqa: PLC0415

    paths: Paths = options.paths
    last = lifecycle.stop(paths)
    if found := lifecycle.leftovers(paths, last):
        raise LabError("the lab ended and left behind:\n" + "\n".join(f"  {item}" for item in found))
    say("the lab is stopped" if last else "no lab was running")
    say("no process, network namespace, interface, mount, cgroup or temporary file is left")
    for line in disks.kept(paths):
        say(f"kept {line}")
    return 0


def _purge(options: argparse.Namespace) -> int:
    paths: Paths = options.paths
    if not options.yes:
        raise LabError(f"purging deletes raw data, releases and privacy ledgers in {paths.disks}: repeat with --yes")
    _down(options)
    shutil.rmtree(paths.root, ignore_errors=True)
    say(f"removed {paths.root}")
    return 0


def _env(options: argparse.Namespace) -> int:
    from lab.env import environment, exports  # noqa: PLC0415

    sys.stdout.write(exports(environment(options.paths)) + "\n")
    return 0


def _kubeconfig(options: argparse.Namespace) -> int:
    path = options.paths.kubeconfig
    if not path.exists():
        raise LabError(f"no lab in {options.paths.root}: start it with `lab up`")
    sys.stdout.write(f"{path}\n")
    return 0


def _status(options: argparse.Namespace) -> int:
    from lab import status  # noqa: PLC0415

    return {"running": 0, "stopped": STOPPED}.get(status.show(options.paths), 1)


def _logs(options: argparse.Namespace) -> int:
    from lab.pods import logs  # noqa: PLC0415

    return logs(options.paths, options.pod, options.container, options.follow)


def _exec(options: argparse.Namespace) -> int:
    from lab.pods import run_inside  # noqa: PLC0415

    return run_inside(options.paths, options.pod, options.container, options.argv)


def _performance(options: argparse.Namespace) -> int:
    from lab import performance  # noqa: PLC0415
    from lab.up import load  # noqa: PLC0415

    performance.page(options.paths, load(options.stack), options.out)
    say(f"wrote {options.out}/performance.md")
    return 0


def _matrix(options: argparse.Namespace) -> int:
    from lab import matrix  # noqa: PLC0415

    return int(matrix.main(options.arguments) or 0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="lab", description="A testbed on this machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    declared = (
        add("up", _up, "start the lab and bring a stack up"),
        add("preview", _preview, "preview a stack under the policies, without a cluster"),
    )
    for command in declared:
        command.add_argument("--stack", default="lab")
        command.add_argument(
            "--policy-config", type=Path, metavar="FILE", help="settings by rule, as the engine takes them"
        )
    add("down", _down, "stop the lab; the nodes' disks stay")
    add("purge", _purge, "stop the lab and delete its disks too").add_argument("--yes", action="store_true")
    add("status", _status, "show the lab's daemons and pods")
    logs = add("logs", _logs, "print what a pod's containers wrote")
    inside = add("exec", _exec, "run a command in a pod's container")
    for command in (logs, inside):
        command.add_argument("pod", metavar="NAMESPACE/POD", help="a pod, or the beginning of one pod's name")
        command.add_argument("-c", "--container")
    logs.add_argument("-f", "--follow", action="store_true")
    inside.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    measure = add("performance", _performance, "write the page of the last run: time, memory and CPU")
    measure.add_argument("--stack", default="lab")
    measure.add_argument("--out", type=Path, required=True, metavar="DIR")
    add("env", _env, 'print variables for `eval "$(lab env)"`')
    add("kubeconfig", _kubeconfig, "print the path of the administrator's kubeconfig")
    matrix = add("matrix", _matrix, "send packets between all pods and compare with the declared intent")
    matrix.add_argument("arguments", nargs=argparse.REMAINDER)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; every failure is one clear message and exit code 1."""
    options = parser().parse_args(argv)
    options.paths = Paths.default()
    try:
        return int(options.run(options))
    except LabError as error:
        sys.stderr.write(f"lab {options.command}: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"\nlab {options.command}: interrupted; what was started goes on, `lab down` ends it\n")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
