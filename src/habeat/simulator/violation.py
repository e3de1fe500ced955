"""That an invariant does not hold."""

from __future__ import annotations


class Violation(BaseException):
    """An invariant does not hold; a BaseException, since nothing in habeat may catch it."""

    def __init__(self, invariant: str, text: str) -> None:
        self.invariant = invariant
        super().__init__(f"{invariant}: {text}")
