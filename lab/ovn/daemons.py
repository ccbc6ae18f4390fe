"""Open vSwitch's and OVN's daemons, private to one lab.

One ``ovsdb-server`` serves the three databases on one socket. Nothing here touches the machine's own Open vSwitch:
every socket, database and pid file is in the given folder, and the datapath is Open vSwitch's userspace one, inside a
network namespace.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.daemon import Daemon
from lab.errors import LabError
from lab.ovn.programs import SCHEMAS, program, schema
from lab.paths import Paths

BRIDGE = "br-int"
SECONDS = 90  # a command to a running daemon answers in milliseconds, on a busy machine later


class FabricError(LabError):
    """A command of Open vSwitch, OVN or iproute2 failed; the message is its own."""


def command(*argv: str, env: Mapping[str, str] | None = None, text: str | None = None) -> str:
    """Run a short command and return its output.

    Raises:
        FabricError: it is not installed, failed, or took longer than 90 seconds.
    """
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=SECONDS, env=env, check=False)
    except FileNotFoundError as problem:
        raise FabricError(f"{argv[0]} is not installed; run scripts/bootstrap") from problem
    except subprocess.TimeoutExpired as problem:
        raise FabricError(f"{argv[0]} did not answer within {SECONDS} s") from problem
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}"
        raise FabricError(f"{Path(argv[0]).name}: {said}")
    return done.stdout


@dataclass(frozen=True)
class Sockets:
    """Where the daemons of one folder are reached."""

    directory: Path

    @property
    def database(self) -> str:
        """The connection of all three databases."""
        return f"unix:{self.directory / 'db.sock'}"

    def env(self) -> dict[str, str]:
        """Environment that keeps the tools' defaults (pid files, control sockets) in the folder."""
        folder = str(self.directory)
        return {
            "OVS_RUNDIR": folder,
            "OVN_RUNDIR": folder,
            "OVS_LOGDIR": folder,
            "OVN_LOGDIR": folder,
            "OVS_DBDIR": folder,
        }

    def nbctl(self, *arguments: str) -> str:
        """Run ``ovn-nbctl``."""
        return command(program("ovn-nbctl"), f"--db={self.database}", *arguments)

    def sbctl(self, *arguments: str) -> str:
        """Run ``ovn-sbctl``."""
        return command(program("ovn-sbctl"), f"--db={self.database}", *arguments)

    def vsctl(self, *arguments: str) -> str:
        """Run ``ovs-vsctl``."""
        return command(program("ovs-vsctl"), f"--db={self.database}", *arguments)


def sockets(paths: Paths) -> Sockets:
    """The daemons of a lab."""
    return Sockets(paths.run / "ovn")


def _database(at: Sockets) -> Daemon:
    def create() -> None:
        at.directory.mkdir(parents=True, exist_ok=True)
        for name in SCHEMAS:
            file = at.directory / f"{name}.db"
            file.unlink(missing_ok=True)
            command(program("ovsdb-tool"), "create", str(file), str(schema(name)))

    argv = (
        program("ovsdb-server"),
        f"--remote=p{at.database}",
        f"--unixctl={at.directory / 'db.ctl'}",
        "--no-chdir",
        *(str(at.directory / f"{name}.db") for name in SCHEMAS),
    )
    return Daemon("ovsdb-server", argv, at.env(), ready=_answers(lambda: at.vsctl("--no-wait", "init")), prepare=create)


def _northd(at: Sockets) -> Daemon:
    argv = (
        program("ovn-northd"),
        f"--ovnnb-db={at.database}",
        f"--ovnsb-db={at.database}",
        f"--unixctl={at.directory / 'northd.ctl'}",
    )
    return Daemon(
        "ovn-northd",
        argv,
        at.env(),
        ready=_answers(lambda: at.nbctl("--timeout=2", "--wait=sb", "sync")),
        restart=True,
    )


def central(directory: Path) -> list[Daemon]:
    """The databases and northd alone: enough for ``ovn-trace``, without root or any network namespace."""
    at = Sockets(directory)
    return [_database(at), _northd(at)]


def daemons(paths: Paths, node: str) -> list[Daemon]:
    """The whole fabric of a lab in the order of its start, in the network namespace ``paths.fabric``.

    Args:
        paths: the lab.
        node: name of the node whose chassis ovn-controller is.
    """
    at = sockets(paths)

    def configure() -> None:
        at.vsctl(
            *("--no-wait", "--", "init", "--", "--may-exist", "add-br", BRIDGE),
            *("--", "set", "Bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure"),
            *("--", "set", "Open_vSwitch", ".", f"external-ids:system-id={node}", f"external-ids:hostname={node}"),
            f"external-ids:ovn-remote={at.database}",
            *("external-ids:ovn-encap-type=geneve", "external-ids:ovn-encap-ip=127.0.0.1"),
            f"external-ids:ovn-bridge={BRIDGE}",
            "external-ids:ovn-bridge-datapath-type=netdev",
        )

    def in_fabric(daemon: Daemon) -> Daemon:
        return Daemon(**{**daemon.__dict__, "netns": paths.fabric})

    vswitchd = Daemon(
        "ovs-vswitchd",
        (program("ovs-vswitchd"), at.database, f"--unixctl={at.directory / 'vswitchd.ctl'}"),
        at.env(),
        ready=lambda: at.vsctl("--timeout=2", "get", "Interface", BRIDGE, "ofport").strip() != "[]",
        prepare=configure,
    )
    controller = Daemon(
        "ovn-controller",
        (program("ovn-controller"), at.database),
        at.env(),
        ready=_answers(lambda: _registered(at, node)),
    )
    return [in_fabric(daemon) for daemon in (*central(at.directory), vswitchd, controller)]


def _registered(at: Sockets, chassis: str) -> None:
    if chassis not in at.sbctl("--timeout=2", "--bare", "--columns=name", "list", "Chassis").split():
        raise FabricError(f"ovn-controller has not registered chassis {chassis}")


def _answers(question: Callable[[], object]) -> Callable[[], bool]:
    def ready() -> bool:
        question()
        return True

    return ready
