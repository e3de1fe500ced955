"""What many tests share: labs, and the plain facts that the core is fed with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from habeat.lab.sites import PRIMARY, STANDBY, Lab

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


def swapped(lab: Lab, *, disable: bool = True) -> dict[str, Any]:
    """Return sections that make a lab's node the primary, which watches the lab's mortal host as its standby."""
    return {
        "local": {"whoami": "primary", "dc_check": "secondary", "disable_ha_module": disable},
        "primary": {"appserver_ip": lab.addresses[STANDBY], "appserver_vmname": STANDBY},
        "secondary": {"appserver_ip": lab.addresses[PRIMARY], "appserver_vmname": PRIMARY},
    }
