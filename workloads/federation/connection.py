"""Connections that end during their TLS handshake, taken as Flower takes those that end at any other time.

A server that starts, ends or is overloaded drops connections. Flower 1.41 repeats a request until it is answered, but
takes every error with "ssl" in its text for one that will not go away, and a connection that is dropped during its
handshake is one of these (``UNEXPECTED_EOF_WHILE_READING``): the whole run would be lost for it. One that the client
or the server refuses, for its certificate for instance, stays the end.
"""

from __future__ import annotations

import ssl
from typing import Any

from flwr.supercore.retry import http_retry
from flwr.supercore.retry.retry_invoker import RetryInvoker


def was_cut(error: BaseException | None) -> bool:
    """Tell whether an error comes from a connection that ended without a word of TLS."""
    while error is not None and not isinstance(error, ssl.SSLEOFError):
        error = error.__cause__ or error.__context__
    return error is not None


def _invoker(*, should_giveup: Any, **arguments: Any) -> RetryInvoker:
    def gives_up(error: Exception) -> bool:
        return not was_cut(error) and bool(should_giveup(error))

    return RetryInvoker(should_giveup=gives_up, **arguments)


def outlast_cuts() -> None:
    """Let Flower's clients in this process repeat a request whose TLS handshake was cut."""
    http_retry.RetryInvoker = _invoker  # type: ignore[attr-defined, assignment]
