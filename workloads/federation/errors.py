"""The errors a person meets; the command shows their message and leaves with their exit code."""

from __future__ import annotations


class FederationError(Exception):
    """A run that failed; the message says why and what to do."""

    exit_code = 1


class InputError(FederationError):
    """Arguments, keys or configuration that cannot be right."""

    exit_code = 2


class WaitError(FederationError):
    """The SuperLink, a SuperNode or a run took longer than allowed."""

    exit_code = 3


class DataError(FederationError):
    """A private volume that cannot be trained on."""
