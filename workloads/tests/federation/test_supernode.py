"""How often a SuperNode asks for a message; ``test_federation`` has one that receives them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from flwr.supernode import start_client_internal as flower

from federation import supernode


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.sleep", clock.sleep)
    return clock


@pytest.mark.parametrize("ready", [0.0, 0.2, 1.0, 5.0, 60.0, 3600.0])
def test_a_message_is_received_soon_after_it_is_there(clock: Clock, ready: float) -> None:
    receive = supernode.patient(lambda: "message" if clock.now >= ready else None)
    assert receive() == "message"
    assert clock.now - ready <= min(0.1 + 0.4 * ready, 3.0) + 1e-9


def test_an_idle_supernode_asks_no_more_often_than_flowers(clock: Clock) -> None:
    asked: list[float] = []

    def receive() -> str | None:
        asked.append(clock.now)
        return "message" if clock.now > 600 else None

    supernode.patient(receive)()
    late = [b - a for a, b in pairwise(asked) if a > 30]
    assert late == pytest.approx([3.0] * len(late))
    assert len(asked) <= 600 / 3 + 12


def test_every_message_begins_with_the_smallest_pause(clock: Clock) -> None:
    ready = 600.0
    receive = supernode.patient(lambda: clock.now if clock.now >= ready else None)
    ready = receive() + 0.2
    assert receive() - ready < 0.2


def test_an_error_is_flowers_to_handle(clock: Clock) -> None:
    def receive() -> None:
        raise RuntimeError("the run is over")

    with pytest.raises(RuntimeError, match="the run is over"):
        supernode.patient(receive)()


def test_flowers_loop_takes_its_messages_from_here(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([None, None, "message"])

    @contextmanager
    def connection(*arguments: object) -> Iterator[tuple[object, ...]]:
        assert arguments[0] == "10.64.0.1:8080"
        yield 7, lambda: next(answers), "send", "get_run", "get_fab", "pull", "push", "confirm"

    monkeypatch.setattr(supernode, "http_request_response", connection)
    monkeypatch.setattr(supernode, "flower_supernode", lambda: None)
    monkeypatch.setattr(flower, "http_request_response", connection)  # put back afterwards
    monkeypatch.setattr("sys.argv", [])
    supernode.supernode(["--insecure"])
    with flower._init_connection("10.64.0.1:8080", insecure=True) as made:
        first: tuple[Any, ...] = made
        assert (first[0], first[1]()) == (7, "message")
        assert first[2:] == ("send", "get_run", "get_fab", "pull", "push", "confirm")
    assert clock.now == pytest.approx(0.24)
