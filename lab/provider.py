"""The source of Pulumi's Kubernetes provider: its Go module, made whole.

The provider embeds two files that its own build generates and its module does not hold, and nothing can be written
beside a module in Go's cache. So the build is given a copy of the module that has them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from lab.errors import LabError

VERSION = "4.25.0"  # of the release that the pinned commit became a day later; the SDK is pinned to it too
MODULE = "github.com/pulumi/pulumi-kubernetes/provider/v4"
PACKAGE = f"{MODULE}/cmd/pulumi-resource-kubernetes"


def whole(go: str, pins: Path, scratch: Path) -> list[str]:
    """Copy the pinned module and write what it embeds (as upstream's ``cmd/pulumi-resource-kubernetes/generate.go``).

    Args:
        go: the ``go`` program.
        pins: folder of the go.mod and go.sum that pin the module.
        scratch: an empty folder, for the copy and for a go.mod that names it.

    Returns:
        Arguments that make ``go build`` in ``pins`` take the copy.

    Raises:
        LabError: when the module cannot be had.
    """
    copy, modfile = scratch / "module", scratch / "go.mod"
    found = json.loads(_run(go, "mod", "download", "-json", MODULE, cwd=pins))
    shutil.copytree(found["Dir"], copy, copy_function=shutil.copyfile)
    for folder in (copy, *copy.rglob("*/")):
        folder.chmod(0o755)  # Go's cache is read-only
    command = copy / PACKAGE.removeprefix(f"{MODULE}/")
    schema = json.loads((command / "schema.json").read_bytes())
    (command / "schema-embed.json").write_text(json.dumps({**schema, "version": VERSION}))
    shutil.copyfile(command / "terraform-mapping.json", command / "terraform-mapping-embed.json")
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(pins / name, scratch / name)
    _run(go, "mod", "edit", f"-replace={MODULE}={copy}", str(modfile), cwd=scratch)
    return [f"-modfile={modfile}"]


def _run(go: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run([go, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"go {' '.join(arguments[:2])} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
