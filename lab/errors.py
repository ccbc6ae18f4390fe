"""What a command of the lab cannot do, said to the person who asked for it."""

from __future__ import annotations


class LabError(Exception):
    """One clear message; ``lab`` prints it alone and exits 1."""
