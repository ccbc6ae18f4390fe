"""The one comment of a pull request: what an environment's change does to paths, epsilon and objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from testbed.compare import difference
from testbed.manifests import Object
from testbed.reachability.verdicts import Result
from testbed.report import markdown
from testbed.report.findings import Findings
from testbed.report.topology import mermaid, natural, short
from testbed.rules.context import Context

MATRIX = 16  # clients up to which the matrix has a row each
LIMIT = 60_000  # characters; GitHub refuses a comment of 65 536


def marker(stack: str) -> str:
    """Return the hidden first line by which the comment of ``stack`` is found again and edited."""
    return f"<!-- kubeflower preview {stack} -->"


def comment(stack: str, base: Context, head: Context, found: Findings) -> str:
    """Render the comment of one environment.

    Args:
        stack: the environment's stack.
        base: the base branch's objects, without any when it has no such stack.
        head: the pull request's objects.
        found: what the rules find in ``head``.
    """
    count = len(found.violations)
    verdict = "no violation" if not count else f"{count} violation{'s' if count > 1 else ''}: refused"
    lines = [marker(stack), f"## `{stack}`: {verdict}", ""]
    if count:
        lines += [markdown.violations(found.violations), ""]
    lines += ["### Paths and epsilon against the base branch", ""]
    lines += [markdown.difference(difference(base, head)), ""]
    lines += ["### What changes", "", *_changes(base, head), ""]
    if found.reachability is not None:
        lines += ["### Isolation", "", *_matrix(found.reachability), ""]
    if found.accounts:
        lines += ["### Privacy budget", "", *markdown.privacy(found.accounts), ""]
    if found.reachability is not None:
        drawn = ["```mermaid", *mermaid(found.reachability).splitlines(), "```"]
        lines += ["### Topology", "", *markdown.folded("diagram", drawn), ""]
    text = "\n".join(lines)
    if len(text) > LIMIT:
        text = text[:LIMIT].rpartition("\n")[0] + "\n\n… cut: `testbed check` and `testbed diff` print the whole.\n"
    return text


def _changes(base: Context, head: Context) -> list[str]:
    """Return objects created, changed and removed, counted by kind and named up to a limit."""
    before, after = _by_key(base), _by_key(head)
    groups = {
        "create": [after[k] for k in after.keys() - before.keys()],
        "change": [after[k] for k in after.keys() & before.keys() if after[k].body != before[k].body],
        "remove": [before[k] for k in before.keys() - after.keys()],
    }
    if not any(groups.values()):
        return ["Nothing."]
    rows: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for action, objects in groups.items():
        for one in objects:
            rows[one.kind][action] += 1
    lines = markdown.table(
        ("kind", *groups), [(kind, *(rows[kind].get(a, "") for a in groups)) for kind in sorted(rows)]
    )
    named = [f"- {action} `{one.ref}`" for action, objects in groups.items() for one in _sorted(objects)]
    return [*lines, "", *markdown.folded("by name", named)]


def _by_key(context: Context) -> dict[tuple[object, ...], Object]:
    return {(*one.key, one.patch): one for one in (*context.objects, *context.patches)}


def _sorted(objects: Iterable[Object]) -> list[Object]:
    return sorted(objects, key=lambda one: one.ref)


def _matrix(result: Result) -> Iterator[str]:
    """Yield who reaches whom, client by client, or a sentence when there are too many for a table."""
    verdicts: dict[tuple[str, str], str] = {}
    for pair in result.found.values():
        key = (str(pair.source.client), str(pair.target.client))
        verdicts[key] = "**unknown**" if pair.verdict == "unknown" else f"**{pair.via or 'reachable'}**"
    yield f"{result.isolated} of {result.total} ordered pairs of pods of different clients are isolated."
    clients = sorted({p.client for p in result.model.pods if p.client}, key=natural)
    if not 1 < len(clients) <= MATRIX:
        return
    yield ""
    rows = [
        (short(row), *("—" if row == column else verdicts.get((row, column), "·") for column in clients))
        for row in clients
    ]
    yield from markdown.table(("from \\ to", *map(short, clients)), rows)
    yield ""
    yield "`·` isolated"
