"""Why a pod or a container cannot start now."""

from __future__ import annotations


class PodError(Exception):
    """A refusal or a failure the pod's owner can act on.

    Args:
        reason: the machine-readable word Kubernetes uses for it, as ``FailedMount`` or ``ErrImagePull``.
        message: what is wrong and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
