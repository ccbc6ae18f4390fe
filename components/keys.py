"""The root secret and the keys derived from it."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

import pulumi
from pulumi.runtime.config import get_config

from testbed.keys import ROOT_BYTES, read_root

CONFIG = "kubeflower:keyRoot"
ENVIRONMENT = "KUBEFLOWER_KEY_ROOT_FILE"
_HOW = (
    f"set it with `pulumi config set --secret {CONFIG} $(openssl rand -hex {ROOT_BYTES})`, or name a file that holds "
    f"{ROOT_BYTES} or more bytes in hexadecimal in the environment variable {ENVIRONMENT}"
)


def root_secret() -> bytes:
    """Return the root secret all keys come from: the stack's, else the file's, else in a preview one to throw away.

    Raises:
        pulumi.RunError: when there is none outside a preview, or it cannot be used.
    """
    source, text = CONFIG, get_config(CONFIG)
    if text is None and (path := os.environ.get(ENVIRONMENT)):
        source = f"{ENVIRONMENT}={path}"
        try:
            text = Path(path).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise pulumi.RunError(f"{source}: cannot be read ({reason}); {_HOW}") from None
    if text is not None:
        try:
            return read_root(text)
        except ValueError as error:
            raise pulumi.RunError(f"{source}: {error}; {_HOW}") from None
    if not pulumi.runtime.is_dry_run():
        raise pulumi.RunError(f"{CONFIG}: missing, all keys of the testbed come from it; {_HOW}")
    pulumi.log.warn(f"{CONFIG} is not set: this preview shows throw-away keys. Before an update, {_HOW}.")
    return secrets.token_bytes(ROOT_BYTES)


def secret_data(files: dict[str, str]) -> pulumi.Output[dict[str, str]]:
    """Return a Secret's ``data`` for text files by name: encrypted in the state, masked in plans."""
    return pulumi.Output.secret({name: base64.b64encode(text.encode()).decode() for name, text in files.items()})
