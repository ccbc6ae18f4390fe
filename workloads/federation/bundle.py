"""The app as one file: what a run is submitted with, and the only one that the pods run.

Who reaches a SuperLink's port can submit a run of any app, clients included: Flower 1.41 asks for no login there, and
checks signatures only of apps that come from its hub. So the processes that would run an app check it themselves: it
has to be, byte for byte, the app of their own image.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from flwr.cli.build import build_fab_from_disk
from flwr.cli.install import install_from_fab

from federation.errors import FederationError


@cache
def build() -> tuple[bytes, str]:
    """Return this image's app as Flower's bundle, whose bytes depend on the app's files alone, and its SHA-256."""
    content: bytes = build_fab_from_disk(Path(__file__).parent)
    return content, hashlib.sha256(content).hexdigest()


def install(content: bytes, **options: Any) -> Path:
    """Be Flower's ``install_from_fab`` for the app of this image.

    Raises:
        FederationError: it is another app. Nothing of it was unpacked.
    """
    given, own = hashlib.sha256(content).hexdigest(), build()[1]
    if given != own:
        raise FederationError(
            f"refused app {given[:12]}: this pod runs the app of its own image alone, {own[:12]}; give the run job and "
            "every client the same image"
        )
    return install_from_fab(content, **options)
