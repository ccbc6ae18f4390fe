from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from federation import submit
from federation.control import Control, SuperNode
from federation.errors import WaitError
from federation.progress import Progress


class _SuperLink:
    """Answers with one look after another, and the last for ever."""

    def __init__(self, *looks: SuperNode) -> None:
        self._looks: Iterator[SuperNode] = iter(looks)
        self._last = looks[0]
        self.asked = 0

    def nodes(self) -> list[SuperNode]:
        self._last = next(self._looks, self._last)
        self.asked += 1
        return [self._last]


def _node(status: str, online_until: float) -> SuperNode:
    return SuperNode(1, b"key", status, "e1", online_until)


def _wait(link: _SuperLink, before: SuperNode, wait: float = 5) -> None:
    submit._await_clients(cast("Control", link), [before], {"e1": b"key"}, wait, Progress())


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "POLL_SECONDS", 0.01)


def test_a_supernode_that_comes_online_is_believed_at_once() -> None:
    link = _SuperLink(_node("online", 60))
    _wait(link, _node("registered", 0))
    assert link.asked == 1


def test_one_that_was_online_before_is_believed_after_its_next_heartbeat() -> None:
    link = _SuperLink(_node("online", 60), _node("online", 60), _node("online", 90))
    _wait(link, _node("online", 60))
    assert link.asked == 3


def test_one_that_a_restarted_superlink_only_remembers_is_missing() -> None:
    with pytest.raises(WaitError, match="missing e1"):
        _wait(_SuperLink(_node("online", 60)), _node("online", 60), wait=0.05)
