"""Pulumi components of a federated-learning testbed; ``Testbed`` is the whole."""

from components.testbed import Testbed

__all__ = ["Testbed"]
