"""What many tests share: labs, and the plain facts that the core is fed with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from habeat.lab.sites import Lab

LabFactory = Callable[..., Lab]


@pytest.fixture
def make_lab() -> Iterator[LabFactory]:
    """Give labs with the embedded witness, which vanish after the test."""
    with ExitStack() as stack:

        def make(accounts: int = 8, **settings: Any) -> Lab:
            return stack.enter_context(Lab(accounts, **settings))

        yield make


@pytest.fixture
def lab(make_lab: LabFactory) -> Lab:
    """Give one small lab."""
    return make_lab()
