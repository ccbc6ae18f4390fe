"""Errors written for the person who meets them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: where, what was found, what is allowed or to do."""

    key: str
    value: str
    advice: str

    def __str__(self) -> str:
        return f"{self.key}: {self.value} — {self.advice}" if self.value else f"{self.key}: {self.advice}"


class SpecError(ValueError):
    """The testbed's configuration cannot be built; ``problems`` has every reason found."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in problems))
