"""The secret seeds of releases under way.

A seed and its release together give the raw data away, so a seed may lie only where the raw data lies too, and never
in the ledger's folder: owners copy that to other places, also while a release is being made. A seed is written before
its claim is committed and destroyed once the release is whole. The folder is tagged for backup programs to leave out
(``tar --exclude-caches``, ``restic --exclude-caches``, Borg; https://bford.info/cachedir/).
"""

from __future__ import annotations

import os
from pathlib import Path

from p3vc.chain import replace, sync_folder
from p3vc.errors import BadInputError

_TAG = "CACHEDIR.TAG"
_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55\n# Seeds of releases under way: never back them up.\n"


def beside(ledger: Path) -> Path:
    """Return the folder that is used when none is named: the ledger's neighbour, whatever link leads to the ledger."""
    real = Path(os.path.realpath(ledger))
    return real.parent / f"{real.name}.seeds"


class Seeds:
    """A folder of seeds.

    Args:
        folder: where they lie; made when the first is kept.
        old: where earlier versions kept them: in the ledger. What is found there is used once more, and destroyed.
    """

    def __init__(self, folder: Path, old: Path) -> None:
        self.folder, self._old = folder, old

    def prepare(self) -> None:
        """Make the folder, before anything is charged.

        Raises:
            BadInputError: seeds cannot be kept there.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (self.folder / _TAG).exists():
                (self.folder / _TAG).write_bytes(_SIGNATURE)  # by several releases at once: it is the same
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(None, "no right to write there")
        except OSError as error:
            raise BadInputError(
                f"--seeds {self.folder}: cannot be written ({error.strerror}); name a folder beside the raw data that "
                "can be. Nothing was charged"
            ) from error

    def keep(self, name: str, seed: bytes) -> None:
        """Keep a seed durably; when this returns it survives any crash."""
        replace(self.folder / name, seed, 0o600)

    def find(self, name: str, old: str) -> bytes | None:
        """Return a seed, or None when it is lost or was destroyed."""
        for path in (self.folder / name, self._old / old):
            if path.exists():
                return path.read_bytes()
        return None

    def destroy(self, name: str, old: str) -> None:
        """Delete a seed, as well as the file system can."""
        for path in (self.folder / name, self._old / old):
            if path.exists():
                path.unlink()
                sync_folder(path.parent)
