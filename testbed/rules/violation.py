"""What a rule reports."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.edits import Edit
from testbed.manifests import Object, Path_, dotted


@dataclass(frozen=True)
class Violation:
    """One reason to refuse.

    Attributes:
        resource: ``Kind namespace/name``.
        field: the field's path in it; empty for the resource as a whole.
        witness: the packet's way, the sum or the chain of fields, line by line.
        repair: the smallest change that repairs it, in words.
        edits: the same change for a machine; empty when it is not a change of declared fields.
        source: ``file:line`` or URN of the resource.
    """

    rule: str
    resource: str
    field: str
    message: str
    witness: tuple[str, ...] = ()
    repair: str = ""
    edits: tuple[Edit, ...] = ()
    source: str = ""


def violation(
    rule: str,
    obj: Object | None,
    path: Path_,
    message: str,
    repair: str,
    *,
    witness: tuple[str, ...] = (),
    edits: tuple[Edit, ...] = (),
) -> Violation:
    """Report ``path`` of ``obj``; without an object, the testbed as a whole."""
    resource, source = (obj.ref, obj.source) if obj else ("testbed", "")
    return Violation(rule, resource, dotted(path), message, witness, repair, edits, source)
