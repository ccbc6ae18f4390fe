"""What can go wrong, by exit code. Every message names the thing, its value, what is allowed and what to do."""

from __future__ import annotations


class P3VCError(Exception):
    """A problem to show to a person, without a traceback."""

    exit_code = 1


class BadInputError(P3VCError):
    """The data, the ledger or an argument is not what it should be. Exit code 2."""

    exit_code = 2


class RefusedError(P3VCError):
    """The request is well formed and would break the privacy terms of the dataset. Exit code 3."""

    exit_code = 3
