"""The Pulumi program: a stack's configuration, the testbed it describes, and what its team is told."""

import os
from pathlib import Path

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env

from components import Testbed
from testbed import stackfile
from testbed.errors import SpecError


def main() -> None:
    """Declare the stack's testbed and export its outputs."""
    stack = pulumi.get_stack()
    named = os.environ.get(stackfile.ENVIRONMENT)
    file = Path(named) if named else stackfile.where(stack, Path(pulumi.get_root_directory() or "."))
    try:
        # Every key as it is set, so that a misspelt one is refused instead of ignored.
        config = {**get_config_env(), **CONFIG.get()}
        spec = stackfile.build(stack, config)
        if named or file.exists():
            stackfile.same(config, file)
    except SpecError as error:
        raise pulumi.RunError(f"the configuration of stack {stack} cannot be built:\n{error}") from None
    for name, value in Testbed(stack, spec).outputs.items():
        pulumi.export(name, value)


main()
