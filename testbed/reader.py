"""Manifest files, read as kubectl reads them (``strict``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from testbed.manifests import Object, expand
from testbed.strict import KUBECTL, UnreadableError, documents


def _files(paths: Iterable[str | Path]) -> Iterator[Path]:
    for given in map(Path, paths):
        if given.is_dir():
            found = sorted(p for p in given.rglob("*") if p.suffix in (".yaml", ".yml", ".json") and p.is_file())
            if not found:
                raise UnreadableError(str(given), None, "no .yaml, .yml or .json file in this folder")
            yield from found
        elif given.is_file():
            yield given
        else:
            raise UnreadableError(str(given), None, "no such file or folder")


def read(paths: Sequence[str | Path], *, empty: bool = False) -> tuple[Object, ...]:
    """Read manifests: files or folders; YAML (also of several documents), JSON, and lists of either.

    Args:
        paths: files and folders.
        empty: whether they may hold no object at all, as a stack that is new has none before.

    Raises:
        UnreadableError: for a file that is missing or is not Kubernetes manifests, with its line.
    """
    objects: list[Object] = []
    for path in _files(paths):
        for body, line in documents(path, KUBECTL):
            if body is None:
                continue
            try:
                objects.extend(expand(body, f"{path}:{line}"))
            except ValueError as error:
                raise UnreadableError(str(path), line, str(error)) from None
    if not objects and not empty:
        where = ", ".join(map(str, paths))
        raise UnreadableError(where, None, f"no Kubernetes object in {where}: nothing to judge; give its manifests")
    return tuple(objects)
