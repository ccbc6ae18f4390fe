"""From a stack's file to a finished federation, and its preview without any cluster."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lab import disks, lifecycle, report
from lab.engine import Engine
from lab.env import environment, pulumi_environment
from lab.errors import LabError
from lab.events import Narrator
from lab.failures import failures
from lab.nodes.description import Description
from lab.ovn import programs
from lab.paths import REPOSITORY, Paths
from lab.plugins import install
from lab.progress import say
from lab.tools import LAB, tools
from testbed import stackfile
from testbed.errors import SpecError
from testbed.rules import config
from testbed.spec import Testbed


def load(stack: str, folder: Path | None = None) -> Testbed:
    """The testbed that a stack's file declares; ``folder`` is the repository where None.

    Raises:
        LabError: with one line for everything that cannot be built.
    """
    try:
        return stackfile.read(stack, folder or REPOSITORY)
    except SpecError as error:
        raise LabError(f"the configuration of stack {stack} cannot be built:\n{error}") from None


def policy_config(file: Path | None) -> config.PolicyConfig:
    """The policies' configuration in ``file``; the defaults where None.

    Raises:
        LabError: with one line for everything that cannot be read.
    """
    try:
        return config.read(file) if file else config.PolicyConfig()
    except SpecError as error:
        raise LabError(f"the policies cannot be configured so:\n{error}") from None


def up(paths: Paths, stack: str, policies: Path | None = None, folder: Path | None = None) -> None:
    """Start the lab, prepare its nodes' disks, and bring the stack up under the policy pack.

    Args:
        paths: the lab's folder.
        stack: its name.
        policies: the policies' configuration; their defaults where None. What the ledgers hold is added to it.
        folder: where its file is, beside the project's; the repository where None.

    Raises:
        LabError: for a configuration that cannot be built (then nothing is started), a refusal or a failure.
    """
    folder = folder or REPOSITORY
    spec, settings = load(stack, folder), policy_config(policies)
    tools([*LAB, *install.to_build()])
    programs.root()
    if lifecycle.start(paths, Description.of(spec)):
        say("the lab runs")
    else:
        say("the lab runs already")
    disks.prepare(paths, spec)
    settings = config.with_spent(settings, disks.spent(paths, spec))
    engine = Engine(stack, environment(paths), folder / f"Pulumi.{stack}.yaml", config.dump(settings))
    engine.unlock(paths.backend)
    if not engine.init(cwd=folder):
        say(f"comparing stack {stack} with what is running")
        seen = engine.preview()
        _refuse(seen)
        if not seen.changes:
            report.show(engine.outputs())
            say("nothing changed: the testbed is as declared")
            return
    say(f"bringing stack {stack} up")
    begun = datetime.now(UTC).replace(microsecond=0)  # a cluster's times are whole seconds
    done = engine.up()
    _refuse(done, failures(paths, spec.name, begun))
    report.show(engine.outputs())
    say("the testbed is up")


def preview(paths: Paths, stack: str, policies: Path | None = None) -> None:
    """Preview a stack from nothing under the policy pack; needs no cluster, no lab and no secret.

    What the lab's ledgers hold of the stack is counted, whether the lab runs or not.

    Args:
        paths: the lab's folders.
        stack: its name.
        policies: the policies' configuration; their defaults where None.

    Raises:
        LabError: for a configuration that cannot be built, or a refusal.
    """
    spec, settings = load(stack), policy_config(policies)
    if disks.kept_of(paths, spec):
        settings = config.with_spent(settings, disks.spent(paths, spec))
    else:
        say(f"ledgers not counted: the lab has no disk of stack {stack}; give what is spent by --policy-config")
    with throw_away(stack, (REPOSITORY / f"Pulumi.{stack}.yaml").read_text()) as engine:
        say(f"previewing stack {stack}")
        seen = replace(engine, policies=config.dump(settings)).preview()
        _refuse(seen)
    say(f"stack {stack} may be created: {seen.changes['create']} resources; nothing was created now")


@contextmanager
def throw_away(stack: str, text: str) -> Iterator[Engine]:
    """A stack in a backend that ends with the block, without cluster and keys; ``text`` is the stack file's."""
    with tempfile.TemporaryDirectory(prefix="kubeflower-") as scratch:
        here = Paths(Path(scratch))
        variables = pulumi_environment(here)
        variables |= {"KUBECONFIG": str(here.kubeconfig), "KUBEFLOWER_KEY_ROOT_FILE": ""}
        # Pulumi writes into a stack's file what only matters to its backend, so it gets a copy.
        shutil.copy(REPOSITORY / "Pulumi.yaml", here.root / "Pulumi.yaml")
        file = here.root / f"Pulumi.{stack}.yaml"
        file.write_text(text)
        engine = Engine(stack, variables, file)
        engine.init(cwd=here.root)
        yield engine


def _refuse(operation: Narrator, reasons: list[str] | None = None) -> None:
    """Raise what an operation failed on, the pods' own reasons first."""
    if not operation.ok:
        raise LabError("\n".join([*(reasons or []), *operation.problems]))
