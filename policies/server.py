"""The SDK's server, for a pack whose policies all judge whole stacks: what is the same for each is done once.

Unchanged it converts every resource of a stack again for each policy, and every resource on its way to policies that
judge or rewrite a single one. Of a preview of thousands of resources that took a sixth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from google.protobuf import json_format
from pulumi.runtime import proto
from pulumi_policy import policy

sdk: Any = policy  # its server is not public


class _Once:
    """A function that remembers what it made of an argument, for as long as both live."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, argument: Any) -> Any:
        known = self._known.get(id(argument))
        if known is None:
            known = self._known[id(argument)] = (argument, self._function(argument))
        return known[1]


@contextmanager
def _converted_once() -> Iterator[None]:
    """Within it the SDK makes the same properties of the same resource for each policy."""
    before = sdk.json_format, sdk.deserialize_properties, sdk.unknown_checking_proxy
    sdk.json_format = SimpleNamespace(MessageToDict=_Once(json_format.MessageToDict))
    sdk.deserialize_properties = _Once(sdk.deserialize_properties)
    sdk.unknown_checking_proxy = _Once(sdk.unknown_checking_proxy)
    try:
        yield
    finally:
        sdk.json_format, sdk.deserialize_properties, sdk.unknown_checking_proxy = before


class StackServer(sdk._PolicyAnalyzerServicer):  # type: ignore[misc]
    """Serves stack policies."""

    def Analyze(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """No policy judges a single resource."""
        return proto.AnalyzeResponse()

    def Remediate(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """No policy rewrites a resource."""
        return proto.RemediateResponse()

    def AnalyzeStack(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Every policy on every resource, each converted once."""
        with _converted_once():
            return super().AnalyzeStack(request, context)


def install() -> None:
    """Let every pack of this process be served so."""
    sdk._PolicyAnalyzerServicer = StackServer
