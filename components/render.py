"""What a testbed declares, as Kubernetes manifests and without an engine or a cluster.

``python -m components.render STACK`` prints the manifests of ``Pulumi.STACK.yaml``. Keys come from a published root:
the manifests are to be read and judged, never applied.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pulumi
import yaml

from components.testbed import Testbed
from testbed import spec as core
from testbed.errors import SpecError
from testbed.stackfile import read

Manifest = dict[str, Any]

ROOT = bytes(32)  # published: never use it for anything that runs
SECRET = "(secret)"  # noqa: S105 - stands for every secret value


class _Recorder(pulumi.runtime.Mocks):
    """Takes the engine's place and keeps what is declared."""

    def __init__(self) -> None:
        self.manifests: list[Manifest] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if args.typ.startswith("kubernetes:") and "kind" in args.inputs:
            kind = args.typ.rpartition(":")[2]  # of a NodePatch the input says Node
            head = {"apiVersion": args.inputs["apiVersion"], "kind": kind}
            self.manifests.append(head | {k: v for k, v in _plain(args.inputs).items() if k not in head})
        return args.name, args.inputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], None]:
        return {}, None


def _plain(value: Any) -> Any:
    """Unwrap the SDK's secrets, whose signature is a key of their own, and keep their shape but not their content."""
    if isinstance(value, dict):
        if pulumi.runtime.rpc._special_sig_key in value:
            return _masked(value.get("value"))
        return {key: _plain(value[key]) for key in sorted(value)}
    return [_plain(item) for item in value] if isinstance(value, list) else _whole(value)


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(value[key]) for key in sorted(value)}
    return [_masked(item) for item in value] if isinstance(value, list) else SECRET


def _whole(value: Any) -> Any:
    """Numbers cross the SDK's wire as floats; Kubernetes has none where a testbed has numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def render(spec: core.Testbed) -> list[Manifest]:
    """Return every Kubernetes manifest a testbed declares, sorted by kind, namespace and name.

    Secret values read ``(secret)``; a ``…Patch`` kind stands for a server-side-apply patch.
    """
    recorder = _Recorder()
    pulumi.runtime.set_mocks(recorder, project="kubeflower", stack=spec.name, preview=False)

    def declare() -> None:
        Testbed(spec.name, spec, root=ROOT)

    pulumi.runtime.test(declare)()  # type: ignore[no-untyped-call]  # returns once every resource is declared

    def place(manifest: Manifest) -> tuple[str, str, str]:
        where = manifest["metadata"]
        return manifest["kind"], where.get("namespace", ""), where["name"]

    return sorted(recorder.manifests, key=place)


def main() -> int:
    """Print a stack's manifests as YAML; exit 2 when its configuration cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m components.render", description=__doc__)
    parser.add_argument("stack", help="name of a stack file here, such as lab")
    try:
        spec = read(parser.parse_args().stack, Path())
    except SpecError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    yaml.safe_dump_all(render(spec), sys.stdout, sort_keys=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
